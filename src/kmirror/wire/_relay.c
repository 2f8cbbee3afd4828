/* The compiled twins of kmirror.wire.relay: large batches led from a socket into pipes, and the parts of requests sent.

   The stable ABI of Python 3.11, so one build serves every later version. Without it the twins in Python are used. No
   call here waits, so none lets other threads run meanwhile. */

#define _GNU_SOURCE
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define HEADER_BYTES 61
#define LOG_OVERHEAD 12 /* base offset and length stand before what the length counts */
#define KEPT_FLAGS 0x17 /* compression and transactional: with any other a batch can't go on as it is */
#define PARTS_AT_ONCE 64

/* Why `lead` returns: as in relay.py. */
enum { MORE, TURN, OTHER, FULL, OVER };

static PyObject *held_name, *read_end_name, *write_end_name, *popleft_name, *take_name, *pipe_type;

static int would_wait(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* An attribute that is a number; -1 with an exception. */
static long long number_of(PyObject *object, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(object, name);
    if (!value)
        return -1;
    long long number = PyLong_AsLongLong(value);
    Py_DECREF(value);
    return number;
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

/* Sets how many bytes wait in a pipe; -1 with an exception. */
static int set_held(PyObject *pipe, long long bytes)
{
    PyObject *value = PyLong_FromLongLong(bytes);
    if (!value)
        return -1;
    int failed = PyObject_SetAttr(pipe, held_name, value);
    Py_DECREF(value);
    return failed;
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
        if (part && (PyObject *)Py_TYPE(part) == pipe_type) {
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
static ssize_t send_pipe(int socket, PyObject *parts, PyObject *pipe, int *failed)
{
    long long held = number_of(pipe, held_name), from = number_of(pipe, read_end_name);
    *failed = held < 0 || from < 0;
    ssize_t sent = *failed ? -1 : splice((int)from, NULL, socket, NULL, (size_t)held, SPLICE_F_NONBLOCK);
    if (sent >= 0) {
        *failed = set_held(pipe, held - sent);
        if (!*failed && sent == held) {
            PyObject *done = PyObject_CallMethodObjArgs(parts, popleft_name, NULL);
            *failed = !done;
            Py_XDECREF(done);
        }
    }
    return *failed ? -1 : sent;
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
        ssize_t sent = (PyObject *)Py_TYPE(first) == pipe_type ? send_pipe(socket, parts, first, &failed)
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

static uint32_t four_bytes(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

/* The size of the batch with this header, if it can go on as it is and is neither too small nor too large; else 0. */
static Py_ssize_t size_for_pipe(const uint8_t *header, Py_ssize_t room, Py_ssize_t least, Py_ssize_t most)
{
    int64_t size = (int64_t)(int32_t)four_bytes(header + 8) + LOG_OVERHEAD;
    int64_t last = (int32_t)four_bytes(header + 23), count = (int32_t)four_bytes(header + 57);
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
    PyObject *socket_object, *memory, *pool, *begun;
    Py_buffer view;
    Py_ssize_t held, at, end, most, least, largest, came_in_all = 0;
    int socket, why = OTHER, failed = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO(nnnO)(nnn)O", &socket_object, &memory, &held, &at, &end, &begun, &most, &least,
                          &largest, &pool) ||
        !descriptor_of(socket_object, &socket) ||
        PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE))
        return NULL;
    PyObject *led = PyList_New(0);
    Py_INCREF(begun);
    if (!led || at < 0 || held < 0 || held > view.len || end > view.len) {
        if (led)
            PyErr_SetString(PyExc_ValueError, "not within the memory");
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
            if (begun == Py_None) {
                Py_DECREF(begun);
                begun = PyObject_CallMethodObjArgs(pool, take_name, NULL);
                if (!begun || begun == Py_None) {
                    failed = !begun;
                    break;
                }
            }
            long long piped = number_of(begun, held_name), into = number_of(begun, write_end_name);
            if ((failed = piped < 0 || into < 0))
                break;
            came = splice(socket, NULL, (int)into, NULL, (size_t)(at + size - held - piped), SPLICE_F_NONBLOCK);
            if (came > 0) {
                piped += came;
                if ((failed = set_held(begun, piped)))
                    break;
                if (held + piped == at + size) {
                    PyObject *item = Py_BuildValue("nO", at, begun);
                    failed = !item || PyList_Append(led, item);
                    Py_XDECREF(item);
                    Py_DECREF(begun);
                    begun = Py_NewRef(Py_None);
                    at = held;
                    end -= (Py_ssize_t)piped;
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
        return Py_BuildValue("i(nnnN)nN", why, held, at, end, begun, came_in_all, led);
    Py_XDECREF(led);
    Py_XDECREF(begun);
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
    held_name = PyUnicode_InternFromString("held");
    read_end_name = PyUnicode_InternFromString("read_end");
    write_end_name = PyUnicode_InternFromString("write_end");
    popleft_name = PyUnicode_InternFromString("popleft");
    take_name = PyUnicode_InternFromString("take");
    PyObject *pipes = PyImport_ImportModule("kmirror.wire.pipes");
    pipe_type = pipes ? PyObject_GetAttrString(pipes, "Pipe") : NULL;
    Py_XDECREF(pipes);
    if (!held_name || !read_end_name || !write_end_name || !popleft_name || !take_name || !pipe_type)
        return NULL;
    return PyModule_Create(&definition);
}
