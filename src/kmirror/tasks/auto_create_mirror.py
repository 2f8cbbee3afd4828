"""AutoCreateMirror: source topics that the filters choose get a mirror, those of today and those to come."""

from collections.abc import Mapping
from typing import ClassVar, Final

from kmirror.errors import Conflict, Unreachable, UsageError
from kmirror.model.each import split
from kmirror.model.filters import TOPIC_FILTERS, parse_filters
from kmirror.model.settings import is_on, seconds_of, value_of
from kmirror.tasks.auto_create_plan import AutoCreatePlan, mirrored_back, plan_mirrors_of
from kmirror.tasks.task import Task, TaskRun

_FILTERS: Final = "auto.create.mirror.topics.filters"
_AT_ONCE: Final = 20
"""Topics that are made before they are recorded: what an interruption could leave behind."""


class AutoCreateMirror(Task):
    name: ClassVar[str] = "AutoCreateMirror"

    def period_s(self, configs: Mapping[str, str]) -> float | None:
        on = is_on(configs, "auto.create.mirror.topics.enable") and value_of(configs, _FILTERS)
        return seconds_of(configs, "metadata.max.age.ms") if on else None

    def run(self, run: TaskRun) -> None:
        plan = _plan(run)
        run.counts |= {"topics": plan.chosen, "conflicts": len(plan.refused)}
        for refusal in plan.refused:
            run.problem(refusal.code, refusal.message)
        names = sorted(plan.wanted)
        for begin in range(0, len(names), _AT_ONCE):
            if run.stopping or run.recorded().configs != run.link.configs:
                return  # what is wanted is another thing now
            _make(run, {name: plan.wanted[name] for name in names[begin : begin + _AT_ONCE]})


def _plan(run: TaskRun) -> AutoCreatePlan:
    filters = parse_filters(value_of(run.link.configs, _FILTERS), TOPIC_FILTERS)
    source, destination = run.source.topics(), set(run.destination.topics())
    link = run.recorded()  # after the topics were read: a mirror that a verb makes now is no conflict
    return plan_mirrors_of(link, filters, source, destination, mirrored_back(run.env.store.all().values(), link))


def _make(run: TaskRun, sources: Mapping[str, str]) -> None:
    from kmirror.tasks.mirror_making import make_mirrors
    from kmirror.tasks.mirror_plan import plan_mirrors

    plans, refused = split(
        plan_mirrors(run.link, run.source, run.destination, sources, replication_factor=None, chosen={})
    )
    made, failed = split(make_mirrors(run.env.store, run.link, run.destination, plans))
    for topic, mirror in sorted(made.items()):
        run.changed(f'mirror topic "{topic}"', None, f"{mirror.partitions} partitions, as {mirror.source_topic}")
    for topic, error in sorted({**refused, **failed}.items()):
        if isinstance(error, Unreachable):
            raise error
        if isinstance(error, Conflict):
            run.problem("TOPIC_EXISTS_ERROR", f'source topic "{sources[topic]}": {error.message}')
        elif isinstance(error, UsageError):
            run.problem("MISCONFIGURATION_ERROR", f'source topic "{sources[topic]}": {error.message}')
        else:
            run.failed(error)
