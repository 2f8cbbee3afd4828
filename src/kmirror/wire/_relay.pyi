import socket
from collections import deque

from kmirror.wire.pipes import PipePool, PlainPipe
from kmirror.wire.relay import Led, Part, Standing

class Pipe(PlainPipe): ...

def lead(
    sock: socket.socket, memory: memoryview, standing: Standing, limits: tuple[int, int, int], pool: PipePool
) -> Led: ...
def send(sock: socket.socket, parts: deque[Part]) -> int: ...
