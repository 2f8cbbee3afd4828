"""Those who copy: each makes itself ready and gives the command of the process that is measured."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from bench.contenders import kmirror, mirror_maker, record_loop
from bench.contenders.job import Command, Job

Contender = Callable[[Job], Command]

CONTENDERS: Final[Mapping[str, Contender]] = MappingProxyType(
    {"mm2": mirror_maker.prepare, "loop": record_loop.prepare, "kmirror": kmirror.prepare}
)

__all__ = ["CONTENDERS", "Command", "Contender", "Job"]
