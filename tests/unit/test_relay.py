"""Large batches led into pipes, and parts sent, in C and in Python: the same for any bytes, however they go."""

import importlib.util
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.wire import pipes, relay
from kmirror.wire.pipes import Pipe, PipePool, PlainPipe, fill, read_into
from kmirror.wire.relay import Led, Part, Why, lead_slowly, send_slowly
from support.batches import LOG_APPEND_TIME, TRANSACTIONAL, Rec, batch
from support.compiled import compiled as built

batches = st.builds(
    lambda size, flags: batch(0, [Rec(0, os.urandom(size))], attributes=flags),
    st.integers(0, 3_000),
    st.sampled_from([0, 0, 0, TRANSACTIONAL, LOG_APPEND_TIME]),
)
damage = st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=2)


@pytest.fixture(scope="module")
def compiled() -> ModuleType:
    return built("_relay")


@contextmanager
def twin(module: ModuleType | None) -> Iterator[tuple[Any, Any]]:
    """How to lead and to send, by C or not; meanwhile pools have such pipes."""
    kind, lead, send = (module.Pipe, module.lead, module.send) if module else (PlainPipe, lead_slowly, send_slowly)
    with patch.object(pipes, "Pipe", kind):
        yield lead, send


def content(pipe: Pipe) -> bytes:
    out = bytearray(pipe.held)
    read_into(pipe, memoryview(out))
    return bytes(out)


def led(module: ModuleType | None, records: bytes, pieces: list[int], limits: tuple[int, int, int]) -> Iterator[object]:
    """All that is told, until another batch comes; what is in memory, and in pipes.

    `limits`: of bytes at a time, of pipes, and how much longer the memory is.
    """
    most, most_pipes, room = limits
    memory = memoryview(bytearray(len(records) + room))
    pool = PipePool(most_pipes)
    ours, theirs = socket.socketpair()
    with ours, theirs, twin(module) as (lead, _):
        ours.setblocking(False)
        held, at, end, begun, sent, sizes = 0, 0, len(records), None, 0, list(pieces)
        why = Why.MORE
        while why in {Why.MORE, Why.TURN}:
            if why is Why.MORE and sent < len(records):
                size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
                sent += theirs.send(records[sent : sent + size])
            elif why is Why.MORE:
                theirs.close()
            found: Led = lead(ours, memory, (held, at, end, begun), (most, 100, 2_000), pool)
            number, (held, at, end, begun), count, pairs = found
            why = Why(number)
            yield why, held, at, end, count
            yield [(place, content(pipe)) for place, pipe in pairs]
            yield None if begun is None else begun.held
        yield bytes(memory)
        yield b"" if begun is None else content(begun)


@given(
    st.lists(batches, max_size=6),
    damage,
    st.lists(st.integers(1, 5_000), min_size=1, max_size=6),
    st.tuples(st.integers(1, 10_000), st.integers(0, 8), st.integers(0, 70)),
)
def test_the_compiled_twin_leads_alike(
    compiled: ModuleType,
    log: list[bytes],
    damaged: list[tuple[int, int]],
    pieces: list[int],
    limits: tuple[int, int, int],
) -> None:
    records = bytearray().join(log) + bytes(limits[2])
    for at, value in damaged:
        if records:
            records[at % len(records)] = value

    assert list(led(compiled, bytes(records), pieces, limits)) == list(led(None, bytes(records), pieces, limits))


@pytest.mark.parametrize("cut", [0, 1])
@pytest.mark.parametrize("by_c", [False, True])
def test_a_batch_that_is_cut_off_stays_out_of_pipes(compiled: ModuleType, cut: int, by_c: bool) -> None:
    """The last one of a partition may be: what it says of itself lies beyond its records."""
    data = batch(0, [Rec(0, bytes(1_000))])
    memory, end = memoryview(bytearray(len(data))), len(data) - cut
    ours, theirs = socket.socketpair()
    with ours, theirs, twin(compiled if by_c else None) as (lead, _):
        ours.setblocking(False)
        theirs.send(data)
        found = lead(ours, memory, (0, 0, end, None), (1 << 20, 62, 1 << 20), PipePool())
    assert (found[0], found[2], len(found[3])) == (Why.OTHER, 61 if cut else len(data), not cut)


def test_a_pipe_that_is_full_is_told(compiled: ModuleType) -> None:
    """In many small packets a batch takes more pieces than a pipe has."""
    data = batch(0, [Rec(0, bytes(100_000))])
    whys = []
    for module in (None, compiled):
        ours, theirs = socket.socketpair()
        with ours, theirs, twin(module) as (lead, _):
            ours.setblocking(False)
            memory, pool = memoryview(bytearray(len(data))), PipePool()
            held, at, end, begun, why = 0, 0, len(data), None, Why.MORE
            for sent in range(0, len(data), 100):
                theirs.send(data[sent : sent + 100])
                why, (held, at, end, begun), _, _ = lead(
                    ours, memory, (held, at, end, begun), (1 << 20, 62, 1 << 20), pool
                )
                if why != Why.MORE:
                    break
            whys.append((Why(why), held, None if begun is None else begun.held))
            assert bytes(memory[:held]) == data[:61]
    assert whys[0] == whys[1]
    assert whys[0][0] is Why.FULL


@pytest.mark.parametrize(
    ("held", "at", "end"), [(-1, 0, 100), (0, -1, 100), (0, 0, 101), (101, 0, 100), (0, 50, 2**40)]
)
def test_nothing_is_written_beside_the_memory(compiled: ModuleType, held: int, at: int, end: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(ValueError, match="not within the memory"):
            compiled.lead(ours, memoryview(bytearray(100)), (held, at, end, None), (1, 1, 1), PipePool())
        with pytest.raises((BufferError, TypeError)):
            compiled.lead(ours, memoryview(bytes(100)), (0, 0, 100, None), (1, 1, 1), PipePool())


parts = st.lists(st.tuples(st.binary(max_size=3_000), st.booleans()), max_size=150)


def of(found: list[tuple[bytes, bool]], pool: PipePool) -> deque[Part]:
    out: deque[Part] = deque()
    for data, in_pipe in found:
        pipe = pool.take() if in_pipe and data else None
        if pipe is None:
            out.append(memoryview(data) if len(data) % 2 else data)
            continue
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.send(data)
            assert fill(pipe, theirs.fileno(), len(data)) == len(data)
        out.append(pipe)
    return out


@given(parts, st.lists(st.integers(1, 20_000), min_size=1, max_size=4))
def test_both_twins_send_all_in_order_however_little_the_kernel_takes(
    compiled: ModuleType, found: list[tuple[bytes, bool]], reads: list[int]
) -> None:
    expected = b"".join(data for data, _ in found)
    for module in (None, compiled):
        ours, theirs = socket.socketpair()
        with ours, theirs, twin(module) as (_, send):
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            waiting, received, sent, turn = of(found, PipePool()), b"", 0, 0
            while waiting:
                sent += send(ours, waiting)
                assert sent + sum(map(len, waiting)) == len(expected)
                turn += 1
                received += theirs.recv(reads[turn % len(reads)]) if sent > len(received) else b""
            ours.close()
            while data := theirs.recv(1 << 20):
                received += data
        assert received == expected


@pytest.mark.parametrize("in_pipe", [False, True])
def test_a_broken_socket_is_told_by_both(compiled: ModuleType, in_pipe: bool) -> None:
    for module in (None, compiled):
        ours, theirs = socket.socketpair()
        with ours, twin(module) as (_, send):
            ours.setblocking(False)
            waiting = of([(b"x" * 100, in_pipe)], PipePool())
            theirs.close()
            with pytest.raises(BrokenPipeError):
                send(ours, waiting)


def test_a_closed_socket_is_told_by_both(compiled: ModuleType) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()
    for send, lead in ((send_slowly, lead_slowly), (compiled.send, compiled.lead)):
        assert send(ours, deque()) == 0
        with pytest.raises(OSError, match="Bad file descriptor"):
            send(ours, deque([b"x"]))
        with pytest.raises(OSError, match="Bad file descriptor"):
            lead(ours, memoryview(bytearray(100)), (0, 0, 100, None), (1, 1, 1), PipePool())


def test_a_reset_is_told_by_both(compiled: ModuleType) -> None:
    for lead in (lead_slowly, compiled.lead):
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
            with ours, pytest.raises(ConnectionResetError):
                lead(ours, memoryview(bytearray(100)), (0, 0, 100, None), (1, 1, 1), PipePool())


def test_what_is_installed_uses_the_twin_that_is_there() -> None:
    twins = (relay.lead, relay.send)
    there = importlib.util.find_spec("kmirror.wire._relay") is not None
    assert (twins == (lead_slowly, send_slowly)) is not there
    assert (Pipe is PlainPipe) is not there
