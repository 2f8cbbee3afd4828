"""kmirror: mirrors Kafka topics between two clusters, byte for byte and offset for offset."""

from importlib.metadata import version

__version__ = version("kmirror")
