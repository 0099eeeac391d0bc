/* A plain reply, as a line of JSON and as Records. Included by _accelerate.c, which says what is plain and why.

This is the part that reads what strangers send: it looks at no octet before it has compared its place with the
message's size, and writes none before it has compared it with the room that is left. Whatever has no room, or would
have to be written in another way than it stands there, fails the line: what was appended before is of no use then. */

#include <arpa/inet.h>
#include <strings.h>
enum { A = 1, CNAME = 5, AAAA = 28, OPT = 41 };
enum { HEADER = 12, FIXED = 12, PLAIN_OPT = 11 }; /* octets: a header; of a record, what is before its rdata; OPT */
enum { LONGEST_REPLY = 512, LONGEST_CHAIN = 8, LONGEST_LINE = 16384 };
static int uint16(const unsigned char *at) { return at[0] << 8 | at[1]; }

/* A result as a line of JSON, on its way. */
struct line { Py_ssize_t size; int failed; char octets[LONGEST_LINE]; };
#define PUT(line, literal) put(line, literal, sizeof literal - 1)

static void put(struct line *line, const char *octets, Py_ssize_t size)
{
    line->failed |= size > LONGEST_LINE - line->size;
    if (line->failed) return;
    memcpy(line->octets + line->size, octets, size);
    line->size += size;
}

static void put_number(struct line *line, unsigned long number)
{
    char digits[20], *first = digits + sizeof digits;
    do *--first = (char)('0' + number % 10); while (number /= 10);
    put(line, first, digits + sizeof digits - first);
}

static void put_bytes(struct line *line, PyObject *octets)
{
    put(line, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets));
}

/* Append a text, within quotes of the caller's. It holds nothing that JSON escapes, and ASCII alone. */
static void put_text(struct line *line, PyObject *text)
{
    const char *octets = PyUnicode_IS_ASCII(text) ? (char *)PyUnicode_1BYTE_DATA(text) : "\n";
    Py_ssize_t size = PyUnicode_IS_ASCII(text) ? PyUnicode_GET_LENGTH(text) : 1;
    int other = 0;
    for (Py_ssize_t i = 0; i < size; i++)
        other |= octets[i] < ' ' || octets[i] > '~' || octets[i] == '"' || octets[i] == '\\';
    line->failed |= other;
    put(line, octets, size);
}

/* Append the name at `at`, if it is plain and ends at `end`. A pointer must lead to before the segment that it ends,
   so this comes to an end. */
static void put_name(struct line *line, const unsigned char *message, int size, int at, int end)
{
    int segment = at, stop = 0;
    Py_ssize_t begin = line->size;
    while (at < size && message[at] != 0 && !line->failed) {
        int label = message[at++];
        if (label >= 0xC0 && at < size) {
            int target = (label & 0x3F) << 8 | message[at++];
            line->failed |= target < HEADER || target >= segment;
            stop = stop ? stop : at;
            at = segment = target;
            continue;
        }
        if ((line->failed |= label > 63 || label > size - at)) return;
        put(line, (char *)message + at, label);
        PUT(line, ".");
        for (; label > 0; label--, at++) /* is there something to be escaped? */
            line->failed |= !Py_ISALNUM(message[at]) && message[at] != '-' && message[at] != '_';
    }
    Py_ssize_t length = line->size - begin; /* 0: the root */
    line->failed |= at >= size || length == 0 || length >= LONGEST_NAME || (stop ? stop : at + 1) != end;
}

static void put_address(struct line *line, int type, const unsigned char *octets)
{
    char text[INET6_ADDRSTRLEN];
    if (type == AAAA && inet_ntop(AF_INET6, octets, text, sizeof text)) put(line, text, strlen(text));
    for (int i = 0; i < 4 && type == A; i++) { /* in a fifth of the time that inet_ntop takes */
        if (i) PUT(line, ".");
        put_number(line, octets[i]);
    }
}

/* Append the records to the line: CNAMEs that lead from one to the next, addresses, and then nothing but OPT; where
   there are `answers`, as Records to them too. Returns whether the reply is plain; else there may be an exception. */
static int read_records(const unsigned char *message, int size, int at, int wanted, PyObject *query, struct line *line,
                        PyObject *answers)
{
    PyObject *name = FIELD(query, name), *mnemonic = FIELD(query, type); /* borrowed, the name also from a record */
    struct { Py_ssize_t at, size; } names[LONGEST_CHAIN + 1] = {{line->size, 0}}; /* the first, and where CNAMEs lead */
    const char *type_text = wanted == A ? "A" : "AAAA";
    int aliases = 0, first = 0, owner = HEADER, octets = wanted == A ? 4 : 16;
    put_text(line, name);
    names[0].size = line->size - names[0].at;
    PUT(line, "\",\"type\":\"");
    put(line, type_text, strlen(type_text));
    PUT(line, "\",\"status\":\"NOERROR\",\"answers\":[");
    for (int left = message[7]; left > 0 && !line->failed; left--) {
        const unsigned char *record = message + at;
        int start = at + FIXED;
        if (start > size || uint16(record) != (0xC000 | owner) || uint16(record + 4) != 1) return 0; /* class IN */
        int type = uint16(record + 2), length = uint16(record + 10);
        long ttl = record[6] > 127 ? 0 : (long)uint16(record + 6) << 16 | uint16(record + 8); /* RFC 2181 section 8 */
        if ((at = start + length) > size) return 0;
        if (left < message[7]) PUT(line, ",");
        PUT(line, "{\"name\":\"");
        put(line, line->octets + names[aliases].at, names[aliases].size);
        PUT(line, "\",\"type\":\"");
        if (type == wanted) put(line, type_text, strlen(type_text)); else PUT(line, "CNAME");
        PUT(line, "\",\"ttl\":");
        put_number(line, ttl);
        PUT(line, ",\"data\":\"");
        Py_ssize_t data = line->size;
        if (type == wanted && length == octets) {
            first = first ? first : start;
            for (int other = first; other < start; other += FIXED + octets) /* the same twice is one answer */
                if (memcmp(message + other, message + start, octets) == 0) return 0;
            if (type == AAAA && uint16(message + start) == 0) return 0; /* of an IPv4 address: written in two ways */
            put_address(line, type, message + start);
        } else if (type == CNAME && first == 0 && aliases < LONGEST_CHAIN) {
            put_name(line, message, size, owner = start, at);
            for (int i = 0; i <= aliases; i++) /* a loop? */
                line->failed |= names[i].size == line->size - data &&
                    strncasecmp(line->octets + names[i].at, line->octets + data, names[i].size) == 0;
            names[++aliases].at = data;
            names[aliases].size = line->size - data;
        } else return 0;
        if (answers != NULL && !line->failed) {
            PyObject *text = PyUnicode_FromStringAndSize(line->octets + data, line->size - data);
            PyObject *kind = type == CNAME ? the.cname : mnemonic, *number = PyLong_FromLong(ttl);
            PyObject *fields[] = {name, kind, number, text};
            int failed = append(answers, number && text ? PyObject_Vectorcall(the.Record, fields, 4, NULL) : NULL);
            name = type == CNAME ? text : name;
            Py_XDECREF(number);
            Py_XDECREF(text);
            if (failed) return 0;
        }
        PUT(line, "\"}");
    }
    const unsigned char *opt = message + at;
    if (line->failed || first == 0 || size - at != (message[11] ? PLAIN_OPT : 0)) return 0;
    return !message[11] || (opt[0] == 0 && uint16(opt + 1) == OPT && opt[5] == 0 && uint16(opt + 9) == 0);
}

/* Append what a reply to this lookup says, beginning with the name that was asked for. Returns whether it is plain;
   where it is not, an exception may have been raised. */
static int read_reply(PyObject *lookup, PyObject *reply, struct line *line, PyObject *answers)
{
    PyObject *query = FIELD(lookup, query), *question = FIELD(lookup, question);
    const unsigned char *message = (unsigned char *)PyBytes_AS_STRING(reply);
    Py_ssize_t size = PyBytes_GET_SIZE(reply), end = HEADER + PyBytes_GET_SIZE(question);
    int once = FIELD(lookup, earlier) == Py_None && PyLong_AsLong(FIELD(lookup, tries)) == 1;
    if (!once || FIELD(lookup, edns) != Py_True || size > LONGEST_REPLY || size < end) return 0;
    if (memcmp(message + HEADER, PyBytes_AS_STRING(question), end - HEADER) != 0) return 0;
    /* A reply, opcode QUERY, not truncated, NOERROR; one question, no authority, and at most one additional record. */
    if ((uint16(message + 2) & 0xFA0F) != 0x8000 || uint16(message + 4) != 1 || message[6] != 0) return 0;
    if (uint16(message + 8) != 0 || uint16(message + 10) > 1) return 0;
    int wanted = uint16(message + end - 4);
    const char *mnemonic = wanted == A ? "A" : wanted == AAAA ? "AAAA" : "";
    if (PyUnicode_CompareWithASCIIString(FIELD(query, type), mnemonic) != 0) return 0;
    return read_records(message, (int)size, (int)end, wanted, query, line, answers);
}
