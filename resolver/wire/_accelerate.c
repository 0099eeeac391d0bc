/* The inner loops of a run, in C: receive datagrams, settle plain replies, launch plain queries.

No rule stands here. What is not the plain case is handed back, and the Python below decides (exchange.py, sender.py,
dns/message.py); where this file answers, it answers as that does (tests/test_accelerator.py). What strangers send is
read in _reply.h alone. Nothing is kept between calls but `the`, which is filled in at import. A PyObject * is a
reference: a borrowed one is somebody else's, any other is given up once (Py_DECREF) or handed on. NULL from a function
of Python's: an exception was raised. */

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE /* recvmmsg */
#include <Python.h>
#include <structmember.h>
#include <errno.h>
#include <sys/socket.h>
enum { LONGEST_NAME = 255, LONGEST_EXTRA = 64 };
enum { AT_ONCE = 16, RECEIVE = 1280 }; /* datagrams from one call of the kernel; octets of each (accelerator.py) */

/* What is used of the Python side, and where an InFlight (inflight.py) and a Query (model.py) keep their fields. */
static struct {
    PyObject *InFlight, *Query, *Record, *Result, *NOERROR, *round_to, *encode, *cname, *wire;
    Py_ssize_t query, question, round, first, sent, edns, tries, sends, ended, earlier, index, input, name, type;
} the;
#define IS_A(object, type) (Py_TYPE(object) == (PyTypeObject *)the.type)
#define FIELD(object, field) (*(PyObject **)((char *)(object) + the.field)) /* borrowed */
/* Return what a function made, unless an exception was raised meanwhile. */
static PyObject *checked(PyObject *made) { if (PyErr_Occurred()) Py_CLEAR(made); return made; }

/* Append an item and give it up. Returns whether that failed, as it does where there is no item. */
static int append(PyObject *list, PyObject *item)
{
    int failed = item == NULL || PyList_Append(list, item) < 0;
    Py_XDECREF(item);
    return failed;
}

#include "_reply.h"

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

/* What the results of a batch have in common. Where there are `indices`, each result is a line, else a Result. */
struct common { PyObject *results, *nameserver, *transport, *engine, *head, *tail, *indices, *elapsed, *elapsed_text; };

/* Append the result of a plain reply. Returns whether that was done; if not, an exception may have been raised. */
static int add_result(PyObject *lookup, PyObject *reply, struct common *common)
{
    struct line place, *line = &place;
    PyObject *query = FIELD(lookup, query), *index = FIELD(query, index);
    line->size = line->failed = 0;
    if (common->indices == NULL) {
        PyObject *answers = PyList_New(0);
        PyObject *fields[] = {index, FIELD(query, input), FIELD(query, name), FIELD(query, type), the.NOERROR, answers,
                              common->nameserver, common->transport, FIELD(lookup, sends), common->elapsed,
                              common->engine, the.wire, Py_None};
        int plain = answers && read_reply(lookup, reply, line, answers);
        int failed = !plain || append(common->results, PyObject_Vectorcall(the.Result, fields, 13, NULL));
        Py_XDECREF(answers);
        return !failed;
    }
    PUT(line, "{\"index\":");
    put_number(line, PyLong_AsUnsignedLong(index));
    PUT(line, ",\"input\":\"");
    put_text(line, FIELD(query, input));
    PUT(line, "\",\"name\":\"");
    if (!read_reply(lookup, reply, line, NULL)) return 0;
    put_bytes(line, common->head);
    put_number(line, PyLong_AsUnsignedLong(FIELD(lookup, sends)));
    PUT(line, ",\"elapsed\":");
    put_bytes(line, common->elapsed_text);
    put_bytes(line, common->tail);
    if (line->failed || PyList_Append(common->indices, index) < 0) return 0;
    return !append(common->results, PyBytes_FromStringAndSize(line->octets, line->size));
}

static PyObject *settle(PyObject *self, PyObject *args)
{
    PyObject *came, *in_flight, *timers, *first = NULL; /* the last of the reply before, borrowed */
    PyObject *round = NULL, *told = NULL; /* of the last run, and its time, borrowed from there */
    struct common common = {0};
    double now, sent = -1.0;
    long queries = 0;
    if (!PyArg_ParseTuple(args, "OOOOdOOO|SSO!", &came, &in_flight, &timers, &common.results, &now, &common.nameserver,
                          &common.transport, &common.engine, &common.head, &common.tail, &PyList_Type,
                          &common.indices)) return NULL;
    PyObject *others = PyList_New(0), *runs = PyList_New(0);
    for (Py_ssize_t i = 0; i < PyList_Size(came) && !PyErr_Occurred(); i++) {
        PyObject *message = PyList_GET_ITEM(came, i);
        const char *octets = PyBytes_AsString(message);
        PyObject *ident = octets ? PyBytes_FromStringAndSize(octets, PyBytes_GET_SIZE(message) < 2 ? 0 : 2) : NULL;
        PyObject *lookup = ident ? PyDict_GetItemWithError(in_flight, ident) : NULL;
        lookup = lookup && IS_A(lookup, InFlight) ? lookup : NULL;
        if (lookup && FIELD(lookup, first) != first) {
            double seconds = now - PyFloat_AsDouble(first = FIELD(lookup, first));
            PyObject *elapsed = PyObject_CallFunction(the.round_to, "di", seconds > 0 ? seconds : 0.0, 6);
            Py_XSETREF(common.elapsed, elapsed);
            Py_XSETREF(common.elapsed_text, elapsed ? PyObject_CallOneArg(the.encode, elapsed) : NULL);
        }
        if (PyErr_Occurred() || lookup == NULL || !add_result(lookup, message, &common)) {
            if (!PyErr_Occurred()) append(others, Py_NewRef(message));
            Py_XDECREF(ident);
            continue;
        }
        if (FIELD(lookup, round) != round || common.elapsed != told) {
            round = FIELD(lookup, round), told = common.elapsed;
            append(runs, Py_BuildValue("OOn", round, told, PyList_Size(common.results) - 1));
        }
        sent = PyFloat_AsDouble(FIELD(lookup, sent));
        queries += PyLong_AsLong(FIELD(lookup, sends));
        Py_SETREF(FIELD(lookup, ended), Py_NewRef(Py_True));
        PyObject *index = FIELD(FIELD(lookup, query), index);
        if (PyDict_DelItem(timers, index) < 0) PyErr_Clear(); /* it had run out just now */
        PyDict_DelItem(in_flight, ident); /* which may have been the last to hold the lookup */
        Py_DECREF(ident);
    }
    Py_XDECREF(common.elapsed);
    Py_XDECREF(common.elapsed_text);
    return checked(Py_BuildValue("NNdl", others, runs, sent, queries));
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
    the.round_to = find("builtins", "round"), the.encode = find("msgspec.json", "encode");
#define FIND(type, field) the.field = offset(the.type, #field)
    FIND(InFlight, query), FIND(InFlight, question), FIND(InFlight, round), FIND(InFlight, first), FIND(InFlight, sent);
    FIND(InFlight, edns), FIND(InFlight, tries), FIND(InFlight, sends), FIND(InFlight, ended), FIND(InFlight, earlier);
    FIND(Query, index), FIND(Query, input), FIND(Query, name), FIND(Query, type);
    return checked(PyModule_Create(&module));
}
