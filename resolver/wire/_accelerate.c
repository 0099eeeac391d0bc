/* The inner loops of a run, in C: receive datagrams, settle plain replies, launch plain queries.

No rule stands here. What is not the plain case is handed back, and the Python below decides (exchange.py, sender.py,
dns/message.py); where this file answers, it answers as that does (tests/test_accelerator.py). `settle` reads what
strangers send: it looks at no octet before it has compared its place with the message's size. Nothing is kept between
calls but `the`, which is filled in at import. A PyObject * is a reference: a borrowed one is somebody else's, any other
is given up once (Py_DECREF) or handed on. NULL from a function of Python's: an exception was raised. */

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE /* recvmmsg */
#include <Python.h>
#include <structmember.h>
#include <arpa/inet.h>
#include <errno.h>
#include <strings.h>
#include <sys/socket.h>
enum { A = 1, CNAME = 5, AAAA = 28, OPT = 41 };
enum { HEADER = 12, FIXED = 12, PLAIN_OPT = 11 }; /* octets: a header; of a record, what is before its rdata; OPT */
enum { LONGEST_REPLY = 512, LONGEST_NAME = 255, LONGEST_CHAIN = 8, LONGEST_EXTRA = 64 };
enum { AT_ONCE = 16, RECEIVE = 1280 }; /* datagrams from one call of the kernel; octets of each (accelerator.py) */

/* What is used of the Python side, and where an InFlight (inflight.py) and a Query (model.py) keep their fields. */
static struct {
    PyObject *InFlight, *Query, *Record, *Result, *NOERROR, *round_to, *cname, *wire;
    Py_ssize_t query, question, round, first, sent, edns, tries, sends, ended, earlier, index, input, name, type;
} the;
#define IS_A(object, type) (Py_TYPE(object) == (PyTypeObject *)the.type)
#define FIELD(object, field) (*(PyObject **)((char *)(object) + the.field)) /* borrowed */
static int uint16(const unsigned char *at) { return at[0] << 8 | at[1]; }
/* Return what a function made, unless an exception was raised meanwhile. */
static PyObject *checked(PyObject *made) { if (PyErr_Occurred()) Py_CLEAR(made); return made; }

/* Append an item and give it up. Returns whether that failed, as it does where there is no item. */
static int append(PyObject *list, PyObject *item)
{
    int failed = item == NULL || PyList_Append(list, item) < 0;
    Py_XDECREF(item);
    return failed;
}

#ifdef MSG_WAITFORONE /* this platform has recvmmsg */
static PyObject *receive(PyObject *self, PyObject *args)
{
    struct mmsghdr headers[AT_ONCE] = {0};
    struct iovec places[AT_ONCE];
    char octets[AT_ONCE][RECEIVE];
    int fd, most, got = 0, error = 0;
    if (!PyArg_ParseTuple(args, "ii", &fd, &most)) return NULL;
    for (int i = 0; i < AT_ONCE; i++) {
        places[i] = (struct iovec){.iov_base = octets[i], .iov_len = RECEIVE};
        headers[i].msg_hdr = (struct msghdr){.msg_iov = &places[i], .msg_iovlen = 1};
    }
    PyObject *messages = PyList_New(0);
    while (most > 0 && error == 0 && !PyErr_Occurred()) {
        Py_BEGIN_ALLOW_THREADS
        got = recvmmsg(fd, headers, most < AT_ONCE ? most : AT_ONCE, MSG_DONTWAIT, NULL);
        error = got < 0 ? errno : 0;
        Py_END_ALLOW_THREADS
        for (int i = 0; i < got && !PyErr_Occurred(); i++)
            append(messages, PyBytes_FromStringAndSize(octets[i], headers[i].msg_len));
        most -= got;
    }
    return checked(Py_BuildValue("Ni", messages, error));
}
#endif

/* Return the name at `at` as text, if it ends at `end`. NULL: it is not plain, or an exception was raised. A pointer
   must lead to before the segment that it ends, so this comes to an end. */
static PyObject *read_name(const unsigned char *message, int size, int at, int end)
{
    char text[LONGEST_NAME];
    int segment = at, length = 0, stop = 0;
    while (at < size && message[at] != 0) {
        int label = message[at++];
        if (label >= 0xC0 && at < size) {
            int target = (label & 0x3F) << 8 | message[at++];
            if (target < HEADER || target >= segment) return NULL;
            stop = stop ? stop : at;
            at = segment = target;
            continue;
        }
        if (label > 63 || label > size - at || length + label + 1 >= LONGEST_NAME) return NULL;
        for (; label > 0; label--, at++) {
            if (!Py_ISALNUM(message[at]) && message[at] != '-' && message[at] != '_') return NULL; /* to be escaped? */
            text[length++] = (char)message[at];
        }
        text[length++] = '.';
    }
    if (at >= size || length == 0 || (stop ? stop : at + 1) != end) return NULL; /* cut off, or the root */
    return PyUnicode_FromStringAndSize(text, length);
}

static PyObject *address(int type, const unsigned char *octets)
{
    char text[INET6_ADDRSTRLEN], *end = text;
    if (type == AAAA) return PyUnicode_FromString(inet_ntop(AF_INET6, octets, text, sizeof text));
    for (int i = 0; i < 4; i++) { /* in a fifth of the time that inet_ntop takes */
        if (octets[i] >= 100) *end++ = '0' + octets[i] / 100;
        if (octets[i] >= 10) *end++ = '0' + octets[i] / 10 % 10;
        *end++ = '0' + octets[i] % 10;
        *end++ = '.';
    }
    return PyUnicode_FromStringAndSize(text, end - 1 - text);
}

/* Append the records to `answers`: CNAMEs that lead from one to the next, addresses, and then nothing but OPT.
   Returns whether the reply is plain; where it is not, an exception may have been raised. */
static int read_records(const unsigned char *message, int size, int at, int wanted, PyObject *query, PyObject *answers)
{
    PyObject *name = FIELD(query, name); /* borrowed, also from a record that is among the answers */
    const char *names[LONGEST_CHAIN + 1] = {PyUnicode_AsUTF8(name)}; /* the first, and where each CNAME leads */
    int aliases = 0, first = 0, owner = HEADER, octets = wanted == A ? 4 : 16;
    for (int left = message[7]; left > 0 && names[aliases] != NULL; left--) {
        const unsigned char *record = message + at;
        int start = at + FIXED;
        if (start > size || uint16(record) != (0xC000 | owner) || uint16(record + 4) != 1) return 0; /* class IN */
        int type = uint16(record + 2), length = uint16(record + 10);
        PyObject *data, *mnemonic = FIELD(query, type);
        if ((at = start + length) > size) return 0;
        if (type == wanted && length == octets) {
            first = first ? first : start;
            for (int other = first; other < start; other += FIXED + octets) /* the same twice is one answer */
                if (memcmp(message + other, message + start, octets) == 0) return 0;
            if (type == AAAA && uint16(message + start) == 0) return 0; /* of an IPv4 address: written in two ways */
            data = address(type, message + start);
        } else if (type == CNAME && first == 0 && aliases < LONGEST_CHAIN) {
            data = read_name(message, size, start, at);
            names[++aliases] = data ? PyUnicode_AsUTF8(data) : NULL;
            for (int i = 0; i < aliases && data != NULL; i++)
                if (strcasecmp(names[i], names[aliases]) == 0) Py_CLEAR(data); /* a loop */
            owner = start;
            mnemonic = the.cname;
        } else return 0;
        PyObject *ttl = PyLong_FromLong(record[6] > 127 ? 0 : (long)uint16(record + 6) << 16 | uint16(record + 8));
        PyObject *fields[] = {name, mnemonic, ttl, data}; /* of the TTL: RFC 2181 section 8 */
        int failed = append(answers, ttl && data ? PyObject_Vectorcall(the.Record, fields, 4, NULL) : NULL);
        name = type == CNAME ? data : name;
        Py_XDECREF(ttl);
        Py_XDECREF(data);
        if (failed) return 0;
    }
    const unsigned char *opt = message + at;
    if (first == 0 || size - at != (message[11] ? PLAIN_OPT : 0)) return 0;
    return !message[11] || (opt[0] == 0 && uint16(opt + 1) == OPT && opt[5] == 0 && uint16(opt + 9) == 0);
}

/* Return the answers of a plain reply to this lookup. NULL: it is not plain, or an exception was raised. */
static PyObject *read_reply(PyObject *lookup, PyObject *reply)
{
    PyObject *query = FIELD(lookup, query), *question = FIELD(lookup, question);
    const unsigned char *message = (unsigned char *)PyBytes_AS_STRING(reply);
    Py_ssize_t size = PyBytes_GET_SIZE(reply), end = HEADER + PyBytes_GET_SIZE(question);
    int once = FIELD(lookup, earlier) == Py_None && PyLong_AsLong(FIELD(lookup, tries)) == 1;
    if (!once || FIELD(lookup, edns) != Py_True || size > LONGEST_REPLY || size < end) return NULL;
    if (memcmp(message + HEADER, PyBytes_AS_STRING(question), end - HEADER) != 0) return NULL;
    /* A reply, opcode QUERY, not truncated, NOERROR; one question, no authority, and at most one additional record. */
    if ((uint16(message + 2) & 0xFA0F) != 0x8000 || uint16(message + 4) != 1 || message[6] != 0) return NULL;
    if (uint16(message + 8) != 0 || uint16(message + 10) > 1) return NULL;
    int wanted = uint16(message + end - 4);
    const char *mnemonic = wanted == A ? "A" : wanted == AAAA ? "AAAA" : "";
    if (PyUnicode_CompareWithASCIIString(FIELD(query, type), mnemonic) != 0) return NULL;
    PyObject *answers = PyList_New(0);
    if (answers && !read_records(message, (int)size, (int)end, wanted, query, answers)) Py_CLEAR(answers);
    return answers;
}

static PyObject *settle(PyObject *self, PyObject *args)
{
    PyObject *came, *in_flight, *timers, *results, *server, *transport, *engine;
    PyObject *round = NULL, *first = NULL, *elapsed = NULL; /* of the reply before; the first two are borrowed */
    double now, sent = -1.0;
    if (!PyArg_ParseTuple(args, "OOOOdOOO", &came, &in_flight, &timers, &results, &now, &server, &transport, &engine))
        return NULL;
    PyObject *others = PyList_New(0), *rounds = PyList_New(0);
    for (Py_ssize_t i = 0; i < PyList_Size(came) && !PyErr_Occurred(); i++) {
        PyObject *message = PyList_GET_ITEM(came, i);
        const char *octets = PyBytes_AsString(message);
        PyObject *ident = octets ? PyBytes_FromStringAndSize(octets, PyBytes_GET_SIZE(message) < 2 ? 0 : 2) : NULL;
        PyObject *lookup = ident ? PyDict_GetItemWithError(in_flight, ident) : NULL;
        PyObject *answers = lookup && IS_A(lookup, InFlight) ? read_reply(lookup, message) : NULL;
        if (answers == NULL) {
            if (!PyErr_Occurred()) append(others, Py_NewRef(message));
            Py_XDECREF(ident);
            continue;
        }
        PyObject *query = FIELD(lookup, query), *index = FIELD(query, index);
        if (FIELD(lookup, round) != round)
            append(rounds, Py_BuildValue("On", round = FIELD(lookup, round), PyList_Size(results)));
        if (FIELD(lookup, first) != first) {
            double seconds = now - PyFloat_AsDouble(first = FIELD(lookup, first));
            Py_XSETREF(elapsed, PyObject_CallFunction(the.round_to, "di", seconds > 0 ? seconds : 0.0, 6));
        }
        sent = PyFloat_AsDouble(FIELD(lookup, sent));
        PyObject *fields[] = {index, FIELD(query, input), FIELD(query, name), FIELD(query, type), the.NOERROR, answers,
                              server, transport, FIELD(lookup, sends), elapsed, engine, the.wire, Py_None};
        if (!PyErr_Occurred() && append(results, PyObject_Vectorcall(the.Result, fields, 13, NULL)) == 0) {
            Py_SETREF(FIELD(lookup, ended), Py_NewRef(Py_True));
            if (PyDict_DelItem(timers, index) < 0) PyErr_Clear(); /* it had run out just now */
            PyDict_DelItem(in_flight, ident); /* which may have been the last to hold the lookup */
        }
        Py_DECREF(ident);
        Py_DECREF(answers);
    }
    Py_XDECREF(elapsed);
    return checked(Py_BuildValue("NNd", others, rounds, sent));
}

/* Write the question section for an ordinary absolute name; returns its octets, or 0: it is not plain. */
static Py_ssize_t encode(PyObject *query, PyObject *types, char *octets)
{
    PyObject *name = FIELD(query, name), *type = PyDict_GetItemWithError(types, FIELD(query, type));
    Py_ssize_t size = PyUnicode_GET_LENGTH(name), start = 0;
    if (type == NULL || !PyUnicode_IS_ASCII(name) || size >= LONGEST_NAME) return 0;
    const char *text = (const char *)PyUnicode_1BYTE_DATA(name);
    for (Py_ssize_t i = 0; i < size; i++) {
        octets[i + 1] = text[i];
        if (text[i] == '\\' || (text[i] == '.' && (i == start || i - start > 63))) return 0;
        if (text[i] == '.') {
            octets[start] = (char)(i - start);
            start = i + 1;
        }
    }
    octets[size] = 0;
    memcpy(octets + size + 1, PyBytes_AS_STRING(type), 4);
    return start == size && size > 0 ? size + 5 : 0; /* else it does not end with a dot */
}

static PyObject *launch(PyObject *self, PyObject *args)
{
    PyObject *queries, *flow, *in_flight, *timers, *round, *now, *edns, *types;
    const char *idents, *head, *tail;
    Py_ssize_t given, heads, tails;
    char octets[LONGEST_EXTRA + LONGEST_NAME + 4 + LONGEST_EXTRA];
    if (!PyArg_ParseTuple(args, "Oy#OOOOOOy#y#O", &queries, &idents, &given, &flow, &in_flight, &timers, &round, &now,
                          &edns, &head, &heads, &tail, &tails, &types)) return NULL;
    if (heads + 2 > LONGEST_EXTRA || tails > LONGEST_EXTRA || given < 2 * PyList_Size(queries))
        return PyErr_Format(PyExc_ValueError, "head or tail is too long, or there are too few idents");
    PyObject *messages = PyList_New(0), *others = PyList_New(0);
    memcpy(octets + 2, head, heads);
    for (Py_ssize_t i = 0; i < PyList_Size(queries) && !PyErr_Occurred(); i++) {
        PyObject *query = PyList_GET_ITEM(queries, i);
        PyObject *ident = PyBytes_FromStringAndSize(memcpy(octets, idents + 2 * i, 2), 2);
        Py_ssize_t size = IS_A(query, Query) ? encode(query, types, octets + 2 + heads) : 0;
        if (size == 0 || ident == NULL || PyDict_Contains(in_flight, ident)) {
            append(others, Py_NewRef(query));
            Py_XDECREF(ident);
            continue;
        }
        memcpy(octets + 2 + heads + size, tail, tails);
        PyObject *question = PyBytes_FromStringAndSize(octets + 2 + heads, size);
        PyObject *fields[] = {query, question, ident, flow, round, now, now, edns};
        PyObject *lookup = question ? PyObject_Vectorcall(the.InFlight, fields, 8, NULL) : NULL;
        if (lookup && !PyDict_SetItem(in_flight, ident, lookup) && !PyDict_SetItem(timers, FIELD(query, index), lookup))
            append(messages, PyBytes_FromStringAndSize(octets, 2 + heads + size + tails));
        Py_DECREF(ident);
        Py_XDECREF(question);
        Py_XDECREF(lookup);
    }
    return checked(Py_BuildValue("NN", messages, others));
}

static PyMethodDef functions[] = {
#ifdef MSG_WAITFORONE
    {"receive", receive, METH_VARARGS, NULL},
#endif
    {"settle", settle, METH_VARARGS, NULL}, {"launch", launch, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_accelerate", NULL, -1, functions};

static PyObject *find(const char *where, const char *name)
{
    PyObject *found = PyImport_ImportModule(where);
    Py_XSETREF(found, found ? PyObject_GetAttrString(found, name) : NULL);
    return found;
}

/* Return where the instances of a Struct keep a field. */
static Py_ssize_t offset(PyObject *type, const char *field)
{
    PyObject *slot = type ? PyObject_GetAttrString(type, field) : NULL;
    int known = slot && Py_IS_TYPE(slot, &PyMemberDescr_Type);
    Py_ssize_t found = known ? ((PyMemberDescrObject *)slot)->d_member->offset : 0;
    if (!known) PyErr_Format(PyExc_ImportError, "%s is no field of a Struct", field);
    Py_XDECREF(slot);
    return found;
}

PyMODINIT_FUNC PyInit__accelerate(void)
{
    the.InFlight = find("resolver.wire.inflight", "InFlight");
    the.Query = find("resolver.model", "Query"), the.Result = find("resolver.model", "Result");
    the.Record = find("resolver.model", "Record"), the.NOERROR = find("resolver.dns.message", "_NOERROR");
    the.cname = PyUnicode_InternFromString("CNAME"), the.wire = PyUnicode_InternFromString("wire");
    the.round_to = find("builtins", "round");
#define FIND(type, field) the.field = offset(the.type, #field)
    FIND(InFlight, query), FIND(InFlight, question), FIND(InFlight, round), FIND(InFlight, first), FIND(InFlight, sent);
    FIND(InFlight, edns), FIND(InFlight, tries), FIND(InFlight, sends), FIND(InFlight, ended), FIND(InFlight, earlier);
    FIND(Query, index), FIND(Query, input), FIND(Query, name), FIND(Query, type);
    return checked(PyModule_Create(&module));
}
