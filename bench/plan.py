"""What one invocation measures."""

from dataclasses import dataclass

from bench.loads import Load


@dataclass(frozen=True, slots=True)
class Plan:
    """`profile` is a kind of profiling.KINDS: kmirror runs under it, so its figures are not to be compared."""

    name: str
    loads: tuple[Load, ...]
    contenders: tuple[str, ...]
    rounds: int
    latency: bool
    profile: str | None

    @property
    def short(self) -> bool:
        return self.name == "short"

    def contenders_of(self, load: Load) -> tuple[str, ...]:
        """In the short form MirrorMaker 2 copies the first load only: that it works is all that 64 MB can say of it."""
        if self.short and load is not self.loads[0]:
            return tuple(name for name in self.contenders if name != "mm2")
        return self.contenders
