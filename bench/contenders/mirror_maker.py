"""MirrorMaker 2 in dedicated mode (connect-mirror-maker.sh), without exactly-once, tuned as its users tune it.

Large fetches, large batches, a linger, as many tasks as partitions but eight at most, names kept by
IdentityReplicationPolicy, the source's compression. The JVM options are those of Kafka's own scripts but for the heap,
1 GB in place of 2.
"""

import uuid

from bench.contenders.job import Command, Job

_MOST_TASKS = 8
_CLASS = "org.apache.kafka.connect.mirror.MirrorMaker"
_JVM = (
    "-Xms256M",
    "-Xmx1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
)
_LOG = """\
rootLogger.level=WARN
rootLogger.appenderRef.a.ref=A
appender.a.type=Console
appender.a.name=A
appender.a.layout.type=PatternLayout
appender.a.layout.pattern=%d %p %m (%c)%n
"""


def prepare(job: Job) -> Command:
    # Its group, its internal topics and so its position are named after the aliases: new ones begin anew.
    run = uuid.uuid4().hex[:6]
    properties = job.directory / "mm2.properties"
    properties.write_text(_properties(job, f"east{run}", f"west{run}"), "utf-8")
    log = job.directory / "log4j2.properties"
    log.write_text(_LOG, "ascii")
    runtime = job.stage.runtime
    options = [*_JVM, f"-Dlog4j2.configurationFile={log}", "-cp", runtime.class_path]
    return Command([str(runtime.java), *options, _CLASS, str(properties)])


def _properties(job: Job, east: str, west: str) -> str:
    return f"""\
clusters = {east}, {west}
{east}.bootstrap.servers = {job.stage.source.bootstrap_servers}
{west}.bootstrap.servers = {job.stage.destination.bootstrap_servers}
{east}->{west}.enabled = true
{east}->{west}.topics = {job.topic}
{west}->{east}.enabled = false
replication.policy.class = org.apache.kafka.connect.mirror.IdentityReplicationPolicy
replication.factor = 1
checkpoints.topic.replication.factor = 1
heartbeats.topic.replication.factor = 1
offset-syncs.topic.replication.factor = 1
offset.storage.replication.factor = 1
status.storage.replication.factor = 1
config.storage.replication.factor = 1
emit.heartbeats.enabled = false
tasks.max = {min(job.partitions, _MOST_TASKS)}
{east}.consumer.auto.offset.reset = earliest
{east}.consumer.fetch.max.bytes = 52428800
{east}.consumer.max.partition.fetch.bytes = 8388608
{east}.consumer.max.poll.records = 4000
{east}.consumer.isolation.level = read_committed
{west}.producer.batch.size = 524288
{west}.producer.linger.ms = {0 if job.eager else 10}
{west}.producer.compression.type = {job.compression}
{west}.producer.acks = all
"""
