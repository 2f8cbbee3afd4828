"""`python -m bench.delay`: what a long way to the source, or to the destination, costs of the throughput.

A relay stands before the cluster that is far. Both figures are measured through it, so that only the delay differs; and
the speeds of a network, for a mirror without a network would have as much on its way as no network carries.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from bench.contenders import CONTENDERS, Job
from bench.fill import fill
from bench.loads import FULL, Load
from bench.oracle import check_copy
from bench.payload import payloads_of
from bench.stage import PROPERTIES, VERSION, Stage
from bench.throughput import measure
from kmirror.sandbox import KafkaCluster, kafka_runtime
from support.network import Conditions, FarCluster


def main() -> int:
    options = _options()
    loads = [load for load in FULL if load.name in options.load.split(",")]
    directory = Path(tempfile.mkdtemp(prefix="kmirror-delay-", dir=options.directory))
    runtime = kafka_runtime(VERSION, connect_mirror=True, say=print)
    results = []
    try:
        for far in options.far.split(","):
            source = _cluster("source", directory / far, far)
            destination = _cluster("destination", directory / far, far)
            with source, destination:
                stage = Stage(directory, runtime, source, destination)
                for load in loads:
                    sized = Load(load.name, load.meaning, options.records, load.batch_bytes, partitions=load.partitions)
                    results += _of_load(stage, sized, far, options)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _cluster(side: str, directory: Path, far: str) -> KafkaCluster:
    if side == far:
        return FarCluster(side, directory / side, kafka_runtime(VERSION), properties=PROPERTIES)
    return KafkaCluster(side, directory / side, kafka_runtime(VERSION), properties=PROPERTIES)


def _of_load(stage: Stage, load: Load, far: str, options: argparse.Namespace) -> list[dict[str, object]]:
    fill(stage, load, payloads_of(stage.directory, load.record_bytes))
    rows = []
    for speed in map(float, options.speed.split(",")):
        rates: dict[float, list[float]] = {0.0: [], options.ms: []}
        for _ in range(options.rounds):
            for ms, found in rates.items():
                found.append(_rate(stage, load, far, Conditions(ms / 2000, bytes_per_s=(speed * 1e6) or float("inf"))))
        near, long = (statistics.median(found) for found in rates.values())
        row = {"far": far, "load": load.name, "network_mb_s": speed, "near_mb_s": near, f"{options.ms:g}_ms_mb_s": long}
        print(json.dumps({**row, "lost": round(1 - long / near, 3)}), flush=True)
        rows.append(row)
    stage.clear()
    return rows


def _rate(stage: Stage, load: Load, far: str, conditions: Conditions) -> float:
    stage.clear(keep=load.topic)
    cluster = getattr(stage, far)
    cluster.network.set(conditions)
    try:
        job = Job(stage, load.topic, load.partitions, load.compression, Path(tempfile.mkdtemp(dir=stage.directory)))
        check = (lambda: check_copy(stage, load.topic, load.records)) if conditions.delay_s else None
        return measure("kmirror", CONTENDERS["kmirror"], job, load, check=check).rate
    finally:
        cluster.network.set(Conditions())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.delay", description=__doc__)
    parser.add_argument("--ms", type=float, default=150.0, help="the round trip (default 150)")
    parser.add_argument("--far", default="source,destination")
    parser.add_argument("--load", default="plain,single")
    parser.add_argument("--speed", default="50,0", help="of the network in MB/s; 0: as fast as this machine relays")
    parser.add_argument("--records", type=int, default=500_000, help="of 1,000 bytes")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
