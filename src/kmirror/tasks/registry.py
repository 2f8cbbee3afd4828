"""All tasks that a link can have. A new one gets a line here."""

from kmirror.tasks.acl_sync import AclSync
from kmirror.tasks.auto_create_mirror import AutoCreateMirror
from kmirror.tasks.log_start_sync import LogStartSync
from kmirror.tasks.offset_sync import ConsumerOffsetSync
from kmirror.tasks.task import Task
from kmirror.tasks.topic_configs_sync import TopicConfigsSync


def all_tasks() -> list[Task]:
    """New instances, for one link."""
    return [AclSync(), AutoCreateMirror(), ConsumerOffsetSync(), LogStartSync(), TopicConfigsSync()]
