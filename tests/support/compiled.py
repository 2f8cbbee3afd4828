"""The compiled parts, built here, so that it is never an old one that is tested."""

import functools
import importlib.util
import shutil
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

_ROOT = Path(__file__).parents[2]


@functools.cache
def compiled(part: str) -> ModuleType:
    """`kmirror.wire.<part>`, by the build hook of the package; the test is skipped where there is no C compiler."""
    if shutil.which((sysconfig.get_config_var("LDSHARED") or "cc").split()[0]) is None:
        pytest.skip("no C compiler: there is no twin to compare")
    build = _module("hatch_build", _ROOT / "hatch_build.py")
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory, f"{part}.abi3.so")
        assert build._compile(_ROOT / "src" / "kmirror" / "wire" / f"{part}.c", target)
        return _module(part, target)


def _module(name: str, path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, path)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
