"""Clusters whose data nobody wants when the tests that use them are over."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from kmirror.sandbox import KafkaCluster

C = TypeVar("C", bound=KafkaCluster)

OwnCluster = Callable[..., KafkaCluster]
"""What the fixture `own_cluster` gives."""


@contextmanager
def short_lived(cluster: C) -> Iterator[C]:
    """Starts it, and kills it in the end: an orderly one takes its brokers a second of work."""
    with cluster:
        try:
            yield cluster
        finally:
            cluster.stop(timeout=0)
