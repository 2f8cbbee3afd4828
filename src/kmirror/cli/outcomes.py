"""What the verbs on mirrors print: one table, a row a partition, and at the end what went wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kmirror.cli.output import Format, Narrow, note, print_rows, rows_of
from kmirror.errors import KmirrorError, NotReached

if TYPE_CHECKING:  # ops stay unimported until a verb runs
    from kmirror.ops.verb_rows import TopicOutcome

_COLUMNS: Final = (
    "mirror_topic_name",
    "partition",
    "partition_mirror_lag",
    "last_source_fetch_offset",
    "error_message",
    "error_code",
)
_NARROW: Final = Narrow(once=("mirror_topic_name",), spared=("error_code",))


def show(outcomes: Sequence["TopicOutcome"], output: Format) -> None:
    print_rows(rows_of([row for outcome in outcomes for row in outcome.rows]), _COLUMNS, output, _NARROW)


def end(outcomes: Sequence["TopicOutcome"], verb: str, *, dry_run: bool) -> None:
    """Raises what went wrong, once for all topics: 4 where all that failed were only late."""
    errors = [o.error for o in outcomes if o.error]
    if dry_run and not errors:
        note("Dry run: nothing was changed.")
    if len(errors) == 1:
        raise errors[0]
    if errors:
        kind = NotReached if all(isinstance(e, NotReached) for e in errors) else KmirrorError
        hints = dict.fromkeys(e.hint for e in errors if e.hint)
        raise kind(f"failed to {verb} {len(errors)} of {len(outcomes)} mirror topics", hint="\n".join(hints) or None)
