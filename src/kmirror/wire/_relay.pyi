from collections import deque

from kmirror.wire.pipes import Pipe, PipePool
from kmirror.wire.relay import Led, Part, Standing

def lead(
    socket: int,
    memory: memoryview,
    standing: Standing,
    limits: tuple[int, int, int],
    pool: PipePool,
    begun: Pipe | None,
) -> Led: ...
def send(socket: int, parts: deque[Part], pipe_type: type[Pipe]) -> int: ...
