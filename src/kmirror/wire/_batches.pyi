from collections.abc import Callable

from kmirror.wire.scan import Run

def moved(runs: list[bytes | memoryview]) -> tuple[bytearray, int, int, int]: ...
def scan(
    records: memoryview,
    position: int,
    committed: int,
    most_bytes: tuple[int, int],
    checksum: Callable[[memoryview], int],
) -> list[Run]: ...
def stamp(batch: memoryview, producer_id: int, producer_epoch: int, sequence: int, missing_bytes: int = 0) -> None: ...
