"""A broker's classes as an archive of Java's own (CDS, JEP 310): a start costs two thirds of the work.

It lies beside the jars, one for each Java. Java itself looks whether an archive fits, and starts without where not.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from kmirror.errors import SandboxError
from kmirror.sandbox import leash
from kmirror.sandbox.broker import QUICK_START
from kmirror.sandbox.cluster import KafkaCluster
from kmirror.sandbox.runtime import KafkaRuntime

_LEFT: Final = ".archive."
_DUMP_S: Final = 180


def make_archive(runtime: KafkaRuntime) -> bool:
    """Makes the archive of this runtime, unless it is there or being made; False where that did not work.

    Starts a broker for the list of its classes, so it takes some ten CPU-seconds. Call it from a thread that lives so
    long (see leash). What is left of one that was interrupted the next one removes.
    """
    folder = runtime.cache
    if folder is None or runtime.archive:
        return True
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".archiving", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not runtime.archive:
            for left in folder.glob(f"{_LEFT}*"):
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=_LEFT, dir=folder, ignore_cleanup_errors=True) as work:
                made = _made(runtime, Path(work))
                made.rename(folder / f"{runtime.archive_stem}-{made.stat().st_size}.jsa")
    except BlockingIOError:
        return True  # somebody makes it now
    except (OSError, SandboxError, subprocess.SubprocessError):
        return False  # starts take longer then, and nothing else
    finally:
        os.close(descriptor)
    return True


def _made(runtime: KafkaRuntime, work: Path) -> Path:
    classes, made = work / "classes", work / "archive"
    options = (*QUICK_START, f"-XX:DumpLoadedClassList={classes}")
    with KafkaCluster("classes", work / "cluster", runtime, java_options=options):
        pass
    words = ["-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedClassListFile={classes}", f"-XX:SharedArchiveFile={made}"]
    java = [str(runtime.java), *words, "-cp", runtime.class_path]
    dump = subprocess.Popen(
        [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *java],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = dump.wait(_DUMP_S)
    finally:
        with suppress(ProcessLookupError):
            dump.kill()
        dump.wait()
    if code != 0:
        raise SandboxError(f"Java made no archive of its classes (exit {code})")
    return made
