/* The compiled twin of kmirror.wire.produce: bodies of requests written, answers read.

   The stable ABI of Python 3.11, so one build serves every later version. Without it the twin in Python is used. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "_bytes.h"

#define ID_BYTES 16
#define MOST_VARINT 5
#define ANSWER_BYTES 30 /* index, error, base offset, log append time, log start */

/* --- requests --- */

/* What is to be written before the next batch. */
typedef struct {
    uint8_t *bytes;
    size_t size, room;
} Pending;

/* Where so many bytes more go; NULL with an exception. */
static uint8_t *room_for(Pending *pending, size_t more)
{
    if (pending->size + more > pending->room) {
        size_t room = 2 * (pending->size + more);
        uint8_t *bytes = PyMem_Realloc(pending->bytes, room);
        if (!bytes) {
            PyErr_NoMemory();
            return NULL;
        }
        pending->bytes = bytes;
        pending->room = room;
    }
    uint8_t *at = pending->bytes + pending->size;
    pending->size += more;
    return at;
}

static int add_byte(Pending *pending, uint8_t byte)
{
    uint8_t *at = room_for(pending, 1);
    if (at)
        *at = byte;
    return at != NULL;
}

static int add_bytes(Pending *pending, const void *bytes, size_t size)
{
    uint8_t *at = room_for(pending, size);
    if (at)
        memcpy(at, bytes, size);
    return at != NULL;
}

static int add_unsigned(Pending *pending, uint64_t value)
{
    for (; value > 0x7F; value >>= 7)
        if (!add_byte(pending, (uint8_t)(value | 0x80)))
            return 0;
    return add_byte(pending, (uint8_t)value);
}

static int add_four_bytes(Pending *pending, uint32_t value)
{
    uint8_t *at = room_for(pending, 4);
    if (at)
        at[0] = (uint8_t)(value >> 24), at[1] = (uint8_t)(value >> 16), at[2] = (uint8_t)(value >> 8), at[3] = (uint8_t)value;
    return at != NULL;
}

static int add_topic(Pending *pending, PyObject *name, PyObject *id, Py_ssize_t partitions, int by_id)
{
    char *bytes;
    Py_ssize_t size;
    if (by_id) {
        if (PyBytes_AsStringAndSize(id, &bytes, &size) || !add_bytes(pending, bytes, (size_t)size))
            return 0;
    } else {
        const char *text = PyUnicode_AsUTF8AndSize(name, &size);
        if (!text || !add_unsigned(pending, (uint64_t)size + 1) || !add_bytes(pending, text, (size_t)size))
            return 0;
    }
    return add_unsigned(pending, (uint64_t)partitions + 1);
}

static int append_and_drop(PyObject *list, PyObject *item)
{
    int done = item && !PyList_Append(list, item);
    Py_XDECREF(item);
    return done;
}

/* Puts what is pending, with `batch` behind it if that is wanted, to the parts. */
static int flush(Pending *pending, PyObject *parts, const Py_buffer *batch)
{
    size_t behind = batch ? (size_t)batch->len : 0;
    PyObject *part = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(pending->size + behind));
    char *bytes = part ? PyBytes_AsString(part) : NULL;
    if (bytes) {
        memcpy(bytes, pending->bytes, pending->size);
        if (behind)
            memcpy(bytes + pending->size, batch->buf, behind);
        pending->size = 0;
    }
    return append_and_drop(parts, part);
}

/* (topic, topic id, partition, batch, pipe or None) */
static int add_partition(Pending *pending, PyObject *parts, PyObject *item)
{
    PyObject *name, *id, *batch, *pipe;
    int partition;
    if (!PyArg_ParseTuple(item, "OOiOO", &name, &id, &partition, &batch, &pipe))
        return 0;
    Py_ssize_t size = PyObject_Size(batch), piped = pipe == Py_None ? 0 : PyObject_Size(pipe);
    if (size < 0 || piped < 0 || !add_four_bytes(pending, (uint32_t)partition) ||
        !add_unsigned(pending, (uint64_t)size + (uint64_t)piped + 1))
        return 0;
    if (pipe == Py_None)
        return flush(pending, parts, NULL) && !PyList_Append(parts, batch) && add_byte(pending, 0);
    Py_buffer held;
    if (PyObject_GetBuffer(batch, &held, PyBUF_SIMPLE))
        return 0;
    int done = flush(pending, parts, &held);
    PyBuffer_Release(&held);
    return done && !PyList_Append(parts, pipe) && add_byte(pending, 0);
}

/* The partitions of each topic, in order; NULL with an exception. */
static PyObject *by_topic(PyObject *items)
{
    PyObject *topics = PyDict_New();
    Py_ssize_t count = PyList_Size(items);
    for (Py_ssize_t i = 0; topics && i < count; i++) {
        PyObject *item = PyList_GetItem(items, i), *name = PyTuple_GetItem(item, 0);
        PyObject *of_topic = name ? PyDict_GetItemWithError(topics, name) : NULL;
        if (name && !of_topic && !PyErr_Occurred() && (of_topic = PyList_New(0))) {
            int failed = PyDict_SetItem(topics, name, of_topic);
            Py_DECREF(of_topic);
            of_topic = failed ? NULL : of_topic;
        }
        if (!of_topic || PyList_Append(of_topic, item))
            Py_CLEAR(topics);
    }
    return topics;
}

static int add_topics(Pending *pending, PyObject *parts, PyObject *topics, int by_id)
{
    PyObject *name, *items;
    Py_ssize_t at = 0;
    while (PyDict_Next(topics, &at, &name, &items)) {
        Py_ssize_t count = PyList_Size(items);
        if (!add_topic(pending, name, PyTuple_GetItem(PyList_GetItem(items, 0), 1), count, by_id))
            return 0;
        for (Py_ssize_t i = 0; i < count; i++)
            if (!add_partition(pending, parts, PyList_GetItem(items, i)))
                return 0;
        if (!add_byte(pending, 0))
            return 0;
    }
    return 1;
}

static PyObject *encode(PyObject *module, PyObject *arguments)
{
    PyObject *items;
    int timeout_ms, by_id;
    Pending pending = {NULL, 0, 0};
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!ip", &PyList_Type, &items, &timeout_ms, &by_id))
        return NULL;
    PyObject *topics = by_topic(items), *parts = PyList_New(0);
    int done = topics && parts && add_bytes(&pending, "\0\xFF\xFF", 3) && /* no transactional id, acks of all */
               add_four_bytes(&pending, (uint32_t)timeout_ms) &&
               add_unsigned(&pending, (uint64_t)PyDict_Size(topics) + 1) &&
               add_topics(&pending, parts, topics, by_id) && add_byte(&pending, 0) && flush(&pending, parts, NULL);
    PyMem_Free(pending.bytes);
    Py_XDECREF(topics);
    if (!done)
        Py_CLEAR(parts);
    return parts;
}

/* --- answers --- */

/* Whether so many bytes are there; else with an exception. */
static int has(const Reader *from, uint64_t size)
{
    if (size <= (uint64_t)(from->end - from->next))
        return 1;
    PyErr_SetString(PyExc_ValueError, "it is cut off");
    return 0;
}

static uint64_t take_number(Reader *from, int size)
{
    from->next += size;
    return big_endian(from->next - size, size);
}

static int read_unsigned(Reader *from, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift <= 7 * (MOST_VARINT - 1); shift += 7) {
        if (!has(from, 1))
            return 0;
        uint8_t byte = *from->next++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return 1;
    }
    PyErr_SetString(PyExc_ValueError, "a variable-length integer of more than five bytes");
    return 0;
}

static int skip_tags(Reader *from)
{
    uint64_t count, number, size;
    if (!read_unsigned(from, &count))
        return 0;
    while (count--) {
        if (!read_unsigned(from, &number) || !read_unsigned(from, &size) || !has(from, size))
            return 0;
        from->next += size;
    }
    return 1;
}

/* A nullable string instead of what is at `*words`, if that is none or empty. */
static int read_words(Reader *from, PyObject **words)
{
    uint64_t size;
    if (!read_unsigned(from, &size) || (size && !has(from, size - 1)))
        return 0;
    const char *text = (const char *)from->next;
    from->next += size ? size - 1 : 0;
    int said = PyObject_IsTrue(*words);
    if (said < 0)
        return 0;
    if (!said) {
        PyObject *found = size ? PyUnicode_DecodeUTF8(text, (Py_ssize_t)size - 1, "replace") : Py_NewRef(Py_None);
        if (!found)
            return 0;
        Py_DECREF(*words);
        *words = found;
    }
    return 1;
}

/* The message of an answer: the first record's with an error, else the batch's. NULL with an exception. */
static PyObject *read_message(Reader *from)
{
    PyObject *words = Py_NewRef(Py_None);
    uint64_t errors;
    int good = read_unsigned(from, &errors);
    for (; good && errors > 1; errors--)
        if ((good = has(from, 4))) {
            from->next += 4;
            good = read_words(from, &words) && skip_tags(from);
        }
    if (!good || !read_words(from, &words) || !skip_tags(from))
        Py_CLEAR(words);
    return words;
}

/* The name or the id of a topic; NULL with an exception. */
static PyObject *read_topic(Reader *from, int by_id)
{
    uint64_t size = ID_BYTES;
    if (!by_id) {
        if (!read_unsigned(from, &size))
            return NULL;
        if (!size--) {
            PyErr_SetString(PyExc_ValueError, "a topic without a name");
            return NULL;
        }
    }
    if (!has(from, size))
        return NULL;
    const char *bytes = (const char *)from->next;
    from->next += size;
    return by_id ? PyBytes_FromStringAndSize(bytes, ID_BYTES) : PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)size, NULL);
}

/* Of `type`, which is made of a tuple and nothing else. */
static PyObject *produced(PyTypeObject *type, PyObject *topic, Reader *from)
{
    if (!has(from, ANSWER_BYTES))
        return NULL;
    int partition = (int32_t)take_number(from, 4), error = (int16_t)take_number(from, 2);
    long long base_offset = (int64_t)take_number(from, 8);
    from->next += 16;
    PyObject *message = read_message(from);
    PyObject *fields = message ? Py_BuildValue("((OiiLN))", topic, partition, error, base_offset, message) : NULL;
    newfunc make = (newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new);
    PyObject *made = fields ? make(type, fields, NULL) : NULL;
    Py_XDECREF(fields);
    return made;
}

static PyObject *read_answers(Reader *from, PyTypeObject *type, int by_id)
{
    PyObject *out = PyList_New(0);
    uint64_t topics, count;
    int good = out && read_unsigned(from, &topics);
    for (; good && topics > 1; topics--) {
        PyObject *topic = read_topic(from, by_id);
        good = topic && read_unsigned(from, &count);
        for (; good && count > 1; count--)
            good = append_and_drop(out, produced(type, topic, from));
        good = good && skip_tags(from);
        Py_XDECREF(topic);
    }
    if (!good)
        Py_CLEAR(out);
    return out;
}

static PyObject *decode(PyObject *module, PyObject *arguments)
{
    PyObject *frame, *type, *answers, *result = NULL;
    Py_buffer view;
    int by_id;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OpO!", &frame, &by_id, &PyType_Type, &type))
        return NULL;
    if (!PyType_IsSubtype((PyTypeObject *)type, &PyTuple_Type)) {
        PyErr_SetString(PyExc_TypeError, "not a kind of tuple");
        return NULL;
    }
    if (PyObject_GetBuffer(frame, &view, PyBUF_SIMPLE))
        return NULL;
    Reader from = {view.buf, (const uint8_t *)view.buf + view.len};
    if (has(&from, 4)) { /* the correlation id, which the connection has looked at */
        from.next += 4;
        answers = skip_tags(&from) ? read_answers(&from, (PyTypeObject *)type, by_id) : NULL;
        if (answers && has(&from, 4))
            result = Py_BuildValue("iN", (int32_t)take_number(&from, 4), answers);
        else
            Py_XDECREF(answers);
    }
    PyBuffer_Release(&view);
    return result;
}

static PyMethodDef methods[] = {
    {"encode", encode, METH_VARARGS, "encode(...): as kmirror.wire.produce.encode_slowly."},
    {"decode", decode, METH_VARARGS, "decode(...): as kmirror.wire.produce.decode_slowly."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_produce", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__produce(void)
{
    return PyModule_Create(&definition);
}
