/* The compiled twins of kmirror.wire.pipes.PlainPipe and of kmirror.wire.relay: pipes, large batches led into them from
   a socket, and the parts of requests sent.

   The stable ABI of Python 3.11, so one build serves every later version. Without it the twins in Python are used. No
   call here waits, so none lets other threads run meanwhile. */

#define _GNU_SOURCE
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <structmember.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "_bytes.h"

#define HEADER_BYTES 61
#define LOG_OVERHEAD 12 /* base offset and length stand before what the length counts */
#define KEPT_FLAGS 0x17 /* compression and transactional: with any other a batch can't go on as it is */
#define PARTS_AT_ONCE 64

/* Why `lead` returns: as in relay.py. */
enum { MORE, TURN, OTHER, FULL, OVER };

static PyObject *popleft_name, *take_name, *free_name, *lost_name;
static PyTypeObject *pipe_type;

static int would_wait(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* Of a socket; one that is closed has -1, which system calls refuse. 0 with an exception. */
static int descriptor_of(PyObject *socket, int *descriptor)
{
    PyObject *value = PyObject_CallMethod(socket, "fileno", NULL);
    if (!value)
        return 0;
    *descriptor = (int)PyLong_AsLong(value);
    Py_DECREF(value);
    return !PyErr_Occurred();
}

/* --- pipes --- */

typedef struct {
    PyObject_HEAD
    PyObject *pool, *free, *ends;
    int read_end, write_end;
    long long held;
} Pipe;

static int is_pipe(PyObject *object)
{
    return Py_TYPE(object) == pipe_type;
}

/* The pipe with these ends, which goes back to the list `free` of `pool`; NULL with an exception. */
static Pipe *pipe_of(PyObject *pool, PyObject *free, PyObject *ends)
{
    int read_end, write_end;
    if (!PyList_Check(free) || !PyTuple_Check(ends)) {
        PyErr_SetString(PyExc_TypeError, "neither ends of a pipe nor a list of such");
        return NULL;
    }
    if (!PyArg_ParseTuple(ends, "ii", &read_end, &write_end))
        return NULL;
    Pipe *pipe = (Pipe *)PyType_GenericAlloc(pipe_type, 0);
    if (!pipe)
        return NULL;
    pipe->pool = Py_NewRef(pool);
    pipe->free = Py_NewRef(free);
    pipe->ends = Py_NewRef(ends);
    pipe->read_end = read_end;
    pipe->write_end = write_end;
    return pipe;
}

static PyObject *pipe_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    PyObject *pool, *ends;
    (void)type, (void)named; /* nothing derives from it */
    if (!PyArg_ParseTuple(arguments, "OO", &pool, &ends))
        return NULL;
    PyObject *free = PyObject_GetAttr(pool, free_name);
    if (!free)
        return NULL;
    Pipe *pipe = pipe_of(pool, free, ends);
    Py_DECREF(free);
    return (PyObject *)pipe;
}

/* Nobody has it any more: an empty one waits for the next batch. */
static void pipe_dealloc(PyObject *object)
{
    Pipe *pipe = (Pipe *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject *fault, *value, *trace;
    PyErr_Fetch(&fault, &value, &trace);
    if (!pipe->held) {
        if (PyList_Append(pipe->free, pipe->ends))
            PyErr_WriteUnraisable(NULL);
    } else {
        PyObject *done = PyObject_CallMethodObjArgs(pipe->pool, lost_name, pipe->ends, NULL);
        if (!done)
            PyErr_WriteUnraisable(NULL);
        Py_XDECREF(done);
    }
    PyErr_Restore(fault, value, trace);
    Py_DECREF(pipe->pool);
    Py_DECREF(pipe->free);
    Py_DECREF(pipe->ends);
    PyObject_Free(object);
    Py_DECREF(type);
}

static Py_ssize_t pipe_length(PyObject *object)
{
    return (Py_ssize_t)((Pipe *)object)->held;
}

static PyMemberDef pipe_members[] = {
    {"held", T_LONGLONG, offsetof(Pipe, held), 0, NULL},
    {"read_end", T_INT, offsetof(Pipe, read_end), READONLY, NULL},
    {"write_end", T_INT, offsetof(Pipe, write_end), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot pipe_slots[] = {
    {Py_tp_new, pipe_new},         {Py_tp_dealloc, pipe_dealloc}, {Py_tp_members, pipe_members},
    {Py_sq_length, pipe_length},   {Py_tp_doc, "As kmirror.wire.pipes.PlainPipe."},
    {0, NULL},
};

static PyType_Spec pipe_spec = {"kmirror.wire._relay.Pipe", sizeof(Pipe), 0, Py_TPFLAGS_DEFAULT, pipe_slots};

/* One of a pool's: of those that are free, or as it gives it. NULL: there is none, or with an exception. */
static Pipe *taken(PyObject *pool)
{
    PyObject *free = PyObject_GetAttr(pool, free_name);
    Py_ssize_t count = free ? PyList_Size(free) : -1;
    Pipe *pipe = NULL;
    if (count > 0) {
        PyObject *ends = Py_NewRef(PyList_GetItem(free, count - 1));
        if (!PyList_SetSlice(free, count - 1, count, NULL))
            pipe = pipe_of(pool, free, ends);
        Py_DECREF(ends);
    } else if (!count) {
        PyObject *found = PyObject_CallMethodObjArgs(pool, take_name, NULL);
        if (found && is_pipe(found))
            pipe = (Pipe *)found;
        else if (found && found != Py_None)
            PyErr_SetString(PyExc_TypeError, "not a pipe of this kind");
        if (!pipe)
            Py_XDECREF(found);
    }
    Py_XDECREF(free);
    return pipe;
}

/* --- out --- */

/* Takes so many bytes of memory away from the front of `parts`; -1 with an exception. */
static int take_away(PyObject *parts, ssize_t bytes)
{
    do {
        PyObject *first = PySequence_GetItem(parts, 0);
        if (!first)
            return -1;
        Py_ssize_t size = PyObject_Size(first);
        PyObject *done = NULL;
        if (size > bytes) {
            PyObject *view = PyMemoryView_FromObject(first);
            PyObject *rest = view ? PySequence_GetSlice(view, bytes, size) : NULL;
            if (rest && !PySequence_SetItem(parts, 0, rest))
                done = Py_NewRef(Py_None);
            Py_XDECREF(rest);
            Py_XDECREF(view);
        } else if (size >= 0) {
            done = PyObject_CallMethodObjArgs(parts, popleft_name, NULL);
        }
        Py_DECREF(first);
        if (!done)
            return -1;
        Py_DECREF(done);
        bytes -= size;
    } while (bytes > 0);
    return 0;
}

/* Sends the first parts, up to one that is in a pipe; how many bytes, -1 with errno or, where `*failed`, an exception. */
static ssize_t send_memory(int socket, PyObject *parts, int *failed)
{
    Py_buffer buffers[PARTS_AT_ONCE];
    struct iovec pieces[PARTS_AT_ONCE];
    struct msghdr message = {.msg_iov = pieces};
    int flags = MSG_DONTWAIT | MSG_NOSIGNAL, count = 0;
    Py_ssize_t there = PyObject_Size(parts);
    *failed = there < 0;
    while (count < there && count < PARTS_AT_ONCE && !*failed) {
        PyObject *part = PySequence_GetItem(parts, count);
        if (part && is_pipe(part)) {
            flags |= MSG_MORE;
            Py_DECREF(part);
            break;
        }
        *failed = !part || PyObject_GetBuffer(part, &buffers[count], PyBUF_SIMPLE);
        Py_XDECREF(part);
        if (!*failed) {
            pieces[count] = (struct iovec){buffers[count].buf, (size_t)buffers[count].len};
            count++;
        }
    }
    message.msg_iovlen = (size_t)count;
    ssize_t sent = *failed ? -1 : sendmsg(socket, &message, flags);
    int fault = errno;
    while (count)
        PyBuffer_Release(&buffers[--count]);
    errno = fault;
    if (sent >= 0 && take_away(parts, sent)) {
        *failed = 1;
        return -1;
    }
    return sent;
}

/* As `send_memory`, of a first part that is a pipe. */
static ssize_t send_pipe(int socket, PyObject *parts, Pipe *pipe, int *failed)
{
    ssize_t sent = splice(pipe->read_end, NULL, socket, NULL, (size_t)pipe->held, SPLICE_F_NONBLOCK);
    if (sent >= 0) {
        pipe->held -= sent;
        if (!pipe->held) {
            PyObject *done = PyObject_CallMethodObjArgs(parts, popleft_name, NULL);
            *failed = !done;
            Py_XDECREF(done);
        }
    }
    return sent;
}

static PyObject *send_parts(PyObject *module, PyObject *arguments)
{
    PyObject *socket_object, *parts;
    int socket, failed = 0;
    long long total = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO", &socket_object, &parts) ||
        !descriptor_of(socket_object, &socket))
        return NULL;
    for (;;) {
        Py_ssize_t left = PyObject_Size(parts);
        if (left < 0)
            return NULL;
        if (!left)
            break;
        PyObject *first = PySequence_GetItem(parts, 0);
        if (!first)
            return NULL;
        ssize_t sent = is_pipe(first) ? send_pipe(socket, parts, (Pipe *)first, &failed)
                                      : send_memory(socket, parts, &failed);
        int fault = errno;
        Py_DECREF(first);
        if (failed)
            return NULL;
        if (sent < 0) {
            errno = fault;
            if (would_wait())
                break;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        total += sent;
    }
    return PyLong_FromLongLong(total);
}

/* --- in --- */

/* The size of the batch with this header, if it can go on as it is and is neither too small nor too large; else 0. */
static Py_ssize_t size_for_pipe(const uint8_t *header, Py_ssize_t room, Py_ssize_t least, Py_ssize_t most)
{
    int64_t size = (int64_t)(int32_t)big_endian(header + 8, 4) + LOG_OVERHEAD;
    int64_t last = (int32_t)big_endian(header + 23, 4), count = (int32_t)big_endian(header + 57, 4);
    int flags = header[21] << 8 | header[22];
    int plain = header[16] == 2 && count > 0 && count == last + 1 && !(flags & ~KEPT_FLAGS);
    return plain && size >= HEADER_BYTES && size <= room && size >= least && size <= most ? (Py_ssize_t)size : 0;
}

/* Something waits to be read: then it is the pipe that is full. */
static int has_more(int socket)
{
    char byte;
    return recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static PyObject *lead(PyObject *module, PyObject *arguments)
{
    PyObject *socket_object, *memory, *pool, *standing_pipe;
    Py_buffer view;
    Py_ssize_t held, at, end, most, least, largest, came_in_all = 0;
    int socket, why = OTHER, failed = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO(nnnO)(nnn)O", &socket_object, &memory, &held, &at, &end, &standing_pipe, &most,
                          &least, &largest, &pool) ||
        !descriptor_of(socket_object, &socket) ||
        PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE))
        return NULL;
    PyObject *led = PyList_New(0);
    Pipe *begun = NULL;
    if (!led || at < 0 || held < 0 || held > view.len || end > view.len) {
        if (led)
            PyErr_SetString(PyExc_ValueError, "not within the memory");
        failed = 1;
    } else if (is_pipe(standing_pipe)) {
        begun = (Pipe *)Py_NewRef(standing_pipe);
    } else if (standing_pipe != Py_None) {
        PyErr_SetString(PyExc_TypeError, "not a pipe of this kind");
        failed = 1;
    }
    while (!failed && at + HEADER_BYTES <= end) {
        uint8_t *bytes = view.buf;
        ssize_t came;
        int into_pipe = held >= at + HEADER_BYTES;
        if (into_pipe) {
            Py_ssize_t size = size_for_pipe(bytes + at, end - at, least, largest);
            if (!size || at + size <= held)
                break;
            if (!begun && !(begun = taken(pool))) {
                failed = PyErr_Occurred() != NULL;
                break;
            }
            came = splice(socket, NULL, begun->write_end, NULL, (size_t)(at + size - held - begun->held),
                          SPLICE_F_NONBLOCK);
            if (came > 0) {
                begun->held += came;
                if (held + begun->held == at + size) {
                    PyObject *item = Py_BuildValue("nO", at, begun);
                    end -= (Py_ssize_t)begun->held;
                    failed = !item || PyList_Append(led, item);
                    Py_XDECREF(item);
                    Py_DECREF(begun);
                    begun = NULL;
                    at = held;
                    if (failed)
                        break;
                }
            }
        } else {
            came = recv(socket, bytes + held, (size_t)(at + HEADER_BYTES - held), MSG_DONTWAIT);
            if (came > 0)
                held += came;
        }
        if (came <= 0) {
            if (came == 0)
                why = OVER;
            else if (would_wait())
                why = into_pipe && has_more(socket) ? FULL : MORE;
            else
                failed = !PyErr_SetFromErrno(PyExc_OSError);
            break;
        }
        came_in_all += came;
        if (came_in_all >= most) {
            why = TURN;
            break;
        }
    }
    PyBuffer_Release(&view);
    if (!failed)
        return Py_BuildValue("i(nnnN)nN", why, held, at, end, begun ? (PyObject *)begun : Py_NewRef(Py_None),
                             came_in_all, led);
    Py_XDECREF(led);
    Py_XDECREF((PyObject *)begun);
    return NULL;
}

static PyMethodDef methods[] = {
    {"lead", lead, METH_VARARGS, "lead(...): as kmirror.wire.relay.lead_slowly."},
    {"send", send_parts, METH_VARARGS, "send(...): as kmirror.wire.relay.send_slowly."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_relay", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__relay(void)
{
    popleft_name = PyUnicode_InternFromString("popleft");
    take_name = PyUnicode_InternFromString("take");
    free_name = PyUnicode_InternFromString("free");
    lost_name = PyUnicode_InternFromString("lost");
    pipe_type = (PyTypeObject *)PyType_FromSpec(&pipe_spec);
    PyObject *module = PyModule_Create(&definition);
    if (!popleft_name || !take_name || !free_name || !lost_name || !pipe_type || !module ||
        PyModule_AddType(module, pipe_type)) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
