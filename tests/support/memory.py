"""How much memory a process took."""

from pathlib import Path


def peak_megabytes(pid: int) -> float:
    """The most that it ever held (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise LookupError(f"process {pid} tells no VmHWM")
