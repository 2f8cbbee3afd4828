/* The compiled twins of kmirror.wire.scan, moved and stamp: batches looked at, their records moved, and they made ours.

   The stable ABI of Python 3.11, so one build serves every later version. Without it the twin in Python is used. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "_bytes.h"

#define HEADER_BYTES 61
#define LOG_OVERHEAD 12 /* base offset and length stand before what the length counts */
#define CHECKSUM_AT 17
#define CHECKED_FROM 21 /* what stands behind the checksum is under it */
#define PRODUCER_AT 43
#define CASTAGNOLI 0x82F63B78U /* the polynomial of CRC-32C, its bits in reverse as those of all checksums here */
#define COMPRESSION 0x07
#define TRANSACTIONAL 0x10
#define GZIP 1
#define ZSTD 4
#define SMALLEST_RECORD 4 /* its length, its attributes, its two deltas, a byte each */
#define MOST_GROWTH 17    /* length, timestamp delta and offset delta have 20 bytes at most, and had 3 at least */

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

/* The header of a batch of format v2; `end` is how far the batch reaches, behind its first byte. */
typedef struct {
    int64_t base, first_timestamp, max_timestamp, end;
    int32_t epoch, last_delta, count;
    uint32_t checksum;
    uint16_t attributes;
    uint8_t magic;
} Header;

/* 0 where there is no whole batch of at least a header. */
static int read_header(const uint8_t *from, int64_t size, Header *header)
{
    if (size < HEADER_BYTES)
        return 0;
    header->base = (int64_t)big_endian(from, 8);
    header->end = LOG_OVERHEAD + (int64_t)(int32_t)big_endian(from + 8, 4);
    header->epoch = (int32_t)big_endian(from + 12, 4);
    header->magic = from[16];
    header->checksum = (uint32_t)big_endian(from + 17, 4);
    header->attributes = (uint16_t)big_endian(from + CHECKED_FROM, 2);
    header->last_delta = (int32_t)big_endian(from + 23, 4);
    header->first_timestamp = (int64_t)big_endian(from + 27, 8);
    header->max_timestamp = (int64_t)big_endian(from + 35, 8);
    header->count = (int32_t)big_endian(from + 57, 4);
    return header->end >= HEADER_BYTES && header->end <= size;
}

/* What is made of several batches. `batches` of them so far, the first at this timestamp. */
typedef struct {
    PyObject *out;
    uint8_t *to;
    int64_t batches, records, first_timestamp, max_timestamp;
} Moving;

/* The batches of one run; 0 where there is one that can't be moved. */
static int move_run(Moving *moving, const uint8_t *at, const uint8_t *end)
{
    Header header;
    while (at < end) {
        int64_t later;
        if (!read_header(at, end - at, &header) || header.count < 1)
            return 0;
        if (!moving->batches)
            moving->first_timestamp = header.first_timestamp;
        if (__builtin_sub_overflow(header.first_timestamp, moving->first_timestamp, &later))
            return 0;
        Reader from = {at + HEADER_BYTES, at + header.end};
        if (header.count > (from.end - from.next) / SMALLEST_RECORD)
            return 0;
        uint8_t *to = move(from, moving->to, header.count, moving->records, later);
        if (!to)
            return 0;
        if (!moving->batches || header.max_timestamp > moving->max_timestamp)
            moving->max_timestamp = header.max_timestamp;
        moving->to = to;
        moving->batches++;
        moving->records += header.count;
        at += header.end;
    }
    return 1;
}

/* The most bytes that the records of a run may become. */
static int64_t most_bytes(const uint8_t *at, const uint8_t *end)
{
    Header header;
    int64_t most = 0;
    for (; at < end && read_header(at, end - at, &header); at += header.end) {
        int64_t size = header.end - HEADER_BYTES;
        most += size;
        if (header.count > 0 && header.count <= size / SMALLEST_RECORD)
            most += (int64_t)header.count * MOST_GROWTH;
    }
    return most;
}

static PyObject *moved(PyObject *module, PyObject *runs)
{
    (void)module;
    if (!PyList_Check(runs))
        return PyErr_Format(PyExc_TypeError, "a list of runs is needed");
    Py_ssize_t size = PyList_Size(runs), got = 0;
    Py_buffer *views = PyMem_Calloc((size_t)size + 1, sizeof(Py_buffer));
    Moving moving = {0};
    int64_t most = HEADER_BYTES;
    if (!views)
        return PyErr_NoMemory();
    for (; got < size; got++) {
        if (PyObject_GetBuffer(PyList_GetItem(runs, got), &views[got], PyBUF_SIMPLE))
            goto done;
        most += most_bytes(views[got].buf, (const uint8_t *)views[got].buf + views[got].len);
    }
    if (!(moving.out = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)most)))
        goto done;
    uint8_t *start = (uint8_t *)PyByteArray_AsString(moving.out);
    memset(start, 0, HEADER_BYTES);
    moving.to = start + HEADER_BYTES;
    for (Py_ssize_t i = 0; i < size; i++)
        if (!move_run(&moving, views[i].buf, (const uint8_t *)views[i].buf + views[i].len))
            break;
    if (PyByteArray_Resize(moving.out, moving.to - start))
        Py_CLEAR(moving.out);
done:
    while (got--)
        PyBuffer_Release(&views[got]);
    PyMem_Free(views);
    if (!moving.out)
        return NULL;
    return Py_BuildValue("(NLLL)", moving.out, moving.batches, moving.records, moving.max_timestamp);
}

/* 1 where the checksum fits, -1 with an exception set. */
static int is_intact(PyObject *checksum, PyObject *records, int64_t from, int64_t to, uint32_t wanted)
{
    PyObject *checked = PySequence_GetSlice(records, (Py_ssize_t)from, (Py_ssize_t)to);
    PyObject *found = checked ? PyObject_CallFunctionObjArgs(checksum, checked, NULL) : NULL;
    Py_XDECREF(checked);
    if (!found)
        return -1;
    unsigned long value = PyLong_AsUnsignedLong(found);
    Py_DECREF(found);
    return PyErr_Occurred() ? -1 : value == wanted;
}

static int is_plain(const Header *header, int64_t position, int64_t committed)
{
    if (header->magic != 2 || header->base != position || header->count < 1)
        return 0;
    if (header->count - 1 != header->last_delta || header->attributes & ~(COMPRESSION | TRANSACTIONAL))
        return 0;
    return !(header->attributes & TRANSACTIONAL) || header->base <= committed - header->count;
}

/* Adds what is known of a run that is complete; 0 with an exception set. */
static int add_run(PyObject *runs, int64_t end, int64_t batches, int64_t records, int64_t first, int64_t latest)
{
    PyObject *run = Py_BuildValue("(LLLLL)", end, batches, records, first, latest);
    int done = run && !PyList_Append(runs, run);
    Py_XDECREF(run);
    return done;
}

static PyObject *scan(PyObject *module, PyObject *arguments)
{
    PyObject *records, *checksum;
    long long position, committed, small, together;
    Py_buffer data;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OLL(LL)O", &records, &position, &committed, &small, &together, &checksum) ||
        PyObject_GetBuffer(records, &data, PyBUF_SIMPLE))
        return NULL;
    PyObject *runs = PyList_New(0);
    int64_t at = 0, start = 0, batches = 0, count = 0, first = 0, latest = 0;
    int codec = -1, is_right = runs ? 1 : -1;
    int32_t epoch = 0;
    Header header;
    while (is_right > 0 && read_header((const uint8_t *)data.buf + at, data.len - at, &header) &&
           is_plain(&header, position, committed)) {
        int64_t behind = at + header.end;
        is_right = is_intact(checksum, records, at + CHECKED_FROM, behind, header.checksum);
        if (is_right < 1)
            break;
        int its_codec = header.attributes & COMPRESSION;
        int is_small = header.end <= small && its_codec <= ZSTD && its_codec != GZIP;
        if (!(is_small && codec == its_codec && epoch == header.epoch && behind - start <= together)) {
            if (batches && !add_run(runs, at, batches, count, first, latest))
                is_right = -1;
            start = at;
            batches = count = 0;
            first = header.first_timestamp;
            latest = header.max_timestamp;
            codec = is_small ? its_codec : -1;
            epoch = header.epoch;
        }
        batches++;
        count += header.count;
        latest = header.max_timestamp > latest ? header.max_timestamp : latest;
        at = behind;
        position += header.count;
    }
    PyBuffer_Release(&data);
    if (is_right >= 0 && batches && !add_run(runs, at, batches, count, first, latest))
        is_right = -1;
    if (is_right < 0)
        Py_CLEAR(runs);
    return runs;
}

static void write_big_endian(uint8_t *to, uint64_t value, int size)
{
    while (size--) {
        to[size] = (uint8_t)value;
        value >>= 8;
    }
}

static uint32_t shifted_by_one(uint32_t value)
{
    return value & 1 ? value >> 1 ^ CASTAGNOLI : value >> 1;
}

/* The product of two polynomials, modulo that of the checksum. */
static uint32_t product(uint32_t a, uint32_t b)
{
    uint32_t sum = 0;
    for (; a; a <<= 1) {
        if (a & 0x80000000U)
            sum ^= b;
        b = shifted_by_one(b);
    }
    return sum;
}

static uint32_t of_a_byte[256]; /* what a byte makes of a checksum */
static uint32_t zeros[32];      /* what 2^n zero bytes multiply it by */

static void make_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        of_a_byte[byte] = byte;
        for (int bit = 0; bit < 8; bit++)
            of_a_byte[byte] = shifted_by_one(of_a_byte[byte]);
    }
    zeros[0] = 0x00800000U; /* x^8 */
    for (int n = 1; n < 32; n++)
        zeros[n] = product(zeros[n - 1], zeros[n - 1]);
}

static PyObject *stamp(PyObject *module, PyObject *arguments)
{
    PyObject *batch;
    Py_buffer data;
    long long producer_id;
    int producer_epoch, sequence, missing = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OLii|i", &batch, &producer_id, &producer_epoch, &sequence, &missing) ||
        PyObject_GetBuffer(batch, &data, PyBUF_WRITABLE))
        return NULL;
    if (data.len < HEADER_BYTES || missing < 0 || data.len > INT32_MAX - missing) {
        PyBuffer_Release(&data);
        PyErr_SetString(PyExc_ValueError, "not a batch");
        return NULL;
    }
    uint8_t *at = data.buf, before[HEADER_BYTES];
    memcpy(before, at, HEADER_BYTES);
    write_big_endian(at, 0, 8);                  /* base offset */
    write_big_endian(at + 12, 0xFFFFFFFFU, 4);   /* leader epoch */
    at[16] = 2;
    at[CHECKED_FROM + 1] &= (uint8_t)~TRANSACTIONAL;
    write_big_endian(at + PRODUCER_AT, (uint64_t)producer_id, 8);
    write_big_endian(at + PRODUCER_AT + 8, (uint64_t)producer_epoch, 2);
    write_big_endian(at + PRODUCER_AT + 10, (uint64_t)sequence, 4);
    uint32_t difference = 0;
    for (int byte = CHECKED_FROM; byte < HEADER_BYTES; byte++)
        difference = of_a_byte[(difference ^ before[byte] ^ at[byte]) & 0xFF] ^ difference >> 8;
    uint32_t rest = (uint32_t)(data.len - HEADER_BYTES + missing);
    for (int n = 0; rest; n++, rest >>= 1)
        if (rest & 1)
            difference = product(zeros[n], difference);
    write_big_endian(at + CHECKSUM_AT, (uint32_t)big_endian(before + CHECKSUM_AT, 4) ^ difference, 4);
    PyBuffer_Release(&data);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"moved", moved, METH_O, "moved(runs): as kmirror.wire.moved.moved_slowly."},
    {"scan", scan, METH_VARARGS, "scan(...): as kmirror.wire.scan.scan_slowly."},
    {"stamp", stamp, METH_VARARGS, "stamp(...): as kmirror.wire.batch.stamp_slowly."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_batches", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__batches(void)
{
    make_tables();
    return PyModule_Create(&definition);
}
