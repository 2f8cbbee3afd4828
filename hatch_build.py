"""Builds the compiled parts of `kmirror.wire` where there is a C compiler; without it the wheel is pure Python.

It keeps to the stable ABI of Python 3.11, so a wheel serves every later version too.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_WIRE = Path("src", "kmirror", "wire")
_PARTS = ("_batches", "_produce", *(["_relay"] if sys.platform == "linux" else []))  # elsewhere no pipes to splice


class CustomBuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Of a wheel, also of an editable one. `KMIRROR_PURE=1` in the environment leaves the compiled part out."""
        if self.target_name != "wheel" or os.environ.get("KMIRROR_PURE"):
            return
        built = []
        for part in _PARTS:
            library = Path(self.root, _WIRE, f"{part}.abi3.so")
            if _compile(Path(self.root, _WIRE, f"{part}.c"), library):
                built.append(library)
            else:
                self.app.display_warning(f"without {part}: plain Python does what it would do")
        if not built:
            return
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"cp311-abi3-{platform}"
        if version == "standard":
            build_data["force_include"].update({str(library): f"kmirror/wire/{library.name}" for library in built})


def _compile(source: Path, target: Path) -> bool:
    target.unlink(missing_ok=True)
    link = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
    flags = shlex.split(sysconfig.get_config_var("CCSHARED") or "-fPIC")
    command = [*link, "-O2", *flags, f"-I{sysconfig.get_path('include')}", str(source), "-o", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as e:
        print(f"{command[0]}: {e}", file=sys.stderr)
        return False
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    return done.returncode == 0
