/* Records of a batch at other offsets and times: the compiled twin of kmirror.wire.moved.

   The stable ABI of Python 3.11, so one build serves every later version. Without it the twin in Python is used. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define HEADER_BYTES 61
#define SMALLEST_RECORD 4 /* its length, its attributes, its two deltas, a byte each */
#define MOST_GROWTH 17    /* length, timestamp delta and offset delta have 20 bytes at most, and had 3 at least */

typedef struct {
    const uint8_t *next, *end;
} Reader;

/* A zigzag varint of up to 64 bits; 0 where there is none. */
static int read_signed(Reader *from, int64_t *value)
{
    uint64_t bits = 0;
    for (int shift = 0; from->next < from->end; shift += 7) {
        uint8_t byte = *from->next++;
        if (shift == 63 && byte > 1)
            return 0;
        bits |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = (int64_t)(bits >> 1) ^ -(int64_t)(bits & 1);
            return 1;
        }
    }
    return 0;
}

static int signed_size(int64_t value)
{
    uint64_t bits = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    int size = 1;
    for (; bits > 0x7F; bits >>= 7)
        size++;
    return size;
}

static uint8_t *write_signed(uint8_t *to, int64_t value)
{
    uint64_t bits = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    for (; bits > 0x7F; bits >>= 7)
        *to++ = (uint8_t)(bits | 0x80);
    *to++ = (uint8_t)bits;
    return to;
}

/* Returns the end of what was written, NULL where the records are not what they have to be. */
static uint8_t *move(Reader from, uint8_t *to, int64_t count, int64_t offsets, int64_t milliseconds)
{
    for (int64_t index = 0; index < count; index++) {
        int64_t size, timestamp, offset;
        if (!read_signed(&from, &size) || size < 1 || size > from.end - from.next || *from.next)
            return NULL;
        Reader record = {from.next + 1, from.next + size};
        from.next = record.end;
        if (!read_signed(&record, &timestamp) || !read_signed(&record, &offset) || offset != index)
            return NULL;
        if (__builtin_add_overflow(timestamp, milliseconds, &timestamp))
            return NULL;
        offset += offsets;
        size_t body = (size_t)(record.end - record.next);
        to = write_signed(to, (int64_t)body + 1 + signed_size(timestamp) + signed_size(offset));
        *to++ = 0;
        to = write_signed(write_signed(to, timestamp), offset);
        memcpy(to, record.next, body);
        to += body;
    }
    return from.next == from.end ? to : NULL;
}

/* One payload behind what `to` has; returns its end, `to` itself where it can't be read, NULL with an exception set. */
static uint8_t *move_payload(PyObject *payload, uint8_t *to, int64_t count, int64_t offsets, int64_t milliseconds)
{
    Py_buffer data;
    if (PyObject_GetBuffer(payload, &data, PyBUF_SIMPLE))
        return NULL;
    Reader from = {data.buf, (const uint8_t *)data.buf + data.len};
    uint8_t *end = count > data.len / SMALLEST_RECORD ? NULL : move(from, to, count, offsets, milliseconds);
    PyBuffer_Release(&data);
    return end ? end : to;
}

/* The most bytes that all payloads may become; -1 with an exception set. */
static Py_ssize_t most_bytes(PyObject *payloads, PyObject *counts)
{
    Py_ssize_t most = 0;
    for (Py_ssize_t i = 0; i < PyList_Size(payloads); i++) {
        Py_ssize_t size = PyObject_Size(PyList_GetItem(payloads, i));
        int64_t count = PyLong_AsLongLong(PyList_GetItem(counts, i));
        if (size < 0 || PyErr_Occurred())
            return -1;
        most += size;
        if (count > 0 && count <= size / SMALLEST_RECORD)
            most += count * MOST_GROWTH;
    }
    return most;
}

static PyObject *moved(PyObject *module, PyObject *arguments)
{
    PyObject *payloads, *counts, *milliseconds;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!O!O!", &PyList_Type, &payloads, &PyList_Type, &counts, &PyList_Type, &milliseconds))
        return NULL;
    Py_ssize_t parts = PyList_Size(payloads);
    if (PyList_Size(counts) != parts || PyList_Size(milliseconds) != parts) {
        PyErr_SetString(PyExc_ValueError, "lists of other lengths");
        return NULL;
    }
    Py_ssize_t most = most_bytes(payloads, counts);
    PyObject *out = most < 0 ? NULL : PyByteArray_FromStringAndSize(NULL, HEADER_BYTES + most);
    if (!out)
        return NULL;
    uint8_t *start = (uint8_t *)PyByteArray_AsString(out);
    uint8_t *to = start + HEADER_BYTES;
    memset(start, 0, HEADER_BYTES);
    int64_t offsets = 0;
    Py_ssize_t done = 0;
    for (; done < parts; done++) {
        int64_t count = PyLong_AsLongLong(PyList_GetItem(counts, done));
        int64_t later = PyLong_AsLongLong(PyList_GetItem(milliseconds, done));
        if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError))
            goto failed;
        if (PyErr_Occurred()) { /* a time too far away */
            PyErr_Clear();
            break;
        }
        uint8_t *end = move_payload(PyList_GetItem(payloads, done), to, count, offsets, later);
        if (!end)
            goto failed;
        if (end == to)
            break;
        to = end;
        offsets += count;
    }
    if (PyByteArray_Resize(out, to - start))
        goto failed;
    return Py_BuildValue("(Nn)", out, done);
failed:
    Py_DECREF(out);
    return NULL;
}

static PyMethodDef methods[] = {
    {"moved", moved, METH_VARARGS, "moved(payloads, counts, milliseconds): as kmirror.wire.moved.moved_slowly."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_moved", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__moved(void)
{
    return PyModule_Create(&definition);
}
