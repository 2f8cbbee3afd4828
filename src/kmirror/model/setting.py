"""What a configuration of a link is: its default, its meaning, what it may hold."""

from dataclasses import dataclass

from kmirror.model.setting_checks import Check


class SettingError(ValueError):
    """A key that does not exist, or a value it may not hold. `hint` as in kmirror.errors."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Setting:
    """One key. `check` raises ValueError with what the value is not; a key that is not `mutable` stays as it was made.

    `required`: a link can't be without it, so it has no default. The value of a `sensitive` one is never shown.
    """

    default: str
    meaning: str
    check: Check
    mutable: bool = True
    required: bool = False
    sensitive: bool = False
