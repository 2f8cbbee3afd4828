"""A formatted data folder without Kafka's formatter: two small files for which a JVM takes as long as half a start.

What the formatter makes for a version is kept beside its jars: the records that a new cluster begins with, which name
neither cluster nor broker. Who may be what (`meta.properties`, as Kafka's MetaPropertiesEnsemble reads it) is written
here.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

from kmirror.sandbox.ids import new_id

META: Final = "meta.properties"
_BEGINNING: Final = "bootstrap.checkpoint"


def keep_beginning(data: Path, cache: Path) -> None:
    """Keeps what the formatter made in `data` in the folder `cache`, whole or not at all."""
    cache.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{_BEGINNING}.", dir=cache)
    with os.fdopen(descriptor, "wb") as file:
        file.write((data / _BEGINNING).read_bytes())
    Path(name).rename(cache / _BEGINNING)


def format_from(cache: Path, data: Path, cluster_id: str, node: int) -> bool:
    """Formats `data` for broker `node`; False, and nothing is done, where nothing was kept in `cache`."""
    try:
        beginning = (cache / _BEGINNING).read_bytes()
    except FileNotFoundError:
        return False
    data.mkdir(parents=True, exist_ok=True)
    (data / _BEGINNING).write_bytes(beginning)
    properties = {"version": 1, "cluster.id": cluster_id, "node.id": node, "directory.id": new_id()}
    # Last: it is what says that the folder is formatted.
    (data / META).write_text("".join(f"{key}={value}\n" for key, value in properties.items()), "ascii")
    return True
