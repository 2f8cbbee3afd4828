"""What processes have used so far, as the kernel counts it (Linux: /proc)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads."""
    # The second field is the command in parentheses, which may hold spaces itself.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def with_children(pid: int) -> list[int]:
    """A process and those that its main thread has started, which live."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def peak_rss_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(f"process {pid} tells no VmHWM")


def machine_cpu_seconds() -> float:
    """The busy time of all cores, whoever used it."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = (
        int(ticks) for ticks in Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / _TICKS


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds of all that is measured; `machine` includes everything else that runs.

    Of the mirror with its workers.
    """

    mirror: float
    source: float
    destination: float
    harness: float
    machine: float

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(
            self.mirror - other.mirror,
            self.source - other.source,
            self.destination - other.destination,
            self.harness - other.harness,
            self.machine - other.machine,
        )

    @property
    def others(self) -> float:
        """What neither the mirror nor the brokers nor the benchmark used: noise."""
        return max(0.0, self.machine - self.mirror - self.source - self.destination - self.harness)


def usage(mirror: int, source: int, destination: int) -> Usage:
    return Usage(
        sum(map(cpu_seconds, with_children(mirror))),
        cpu_seconds(source),
        cpu_seconds(destination),
        cpu_seconds(os.getpid()),
        machine_cpu_seconds(),
    )
