"""Whose files these are: what somebody else owns, or what leads elsewhere, is neither read nor written."""

import os
import stat
from pathlib import Path

from kmirror.errors import StateError


def check_ours(path: Path, *, link: bool = False) -> None:
    """Raises StateError where `path` belongs to another user than us or root, or is a symlink unless `link` allows it.

    What does not exist is fine.
    """
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) and link:
            found = path.stat()
    except FileNotFoundError:
        return
    except OSError as e:
        raise StateError(f'cannot look at "{path}": {e.strerror}', hint="Check its owner and mode.") from e
    if stat.S_ISLNK(found.st_mode):
        raise StateError(
            f'"{path}" is a symbolic link: somebody may have led it elsewhere',
            hint="Put the file itself there, or set KMIRROR_HOME to the folder where it is.",
        )
    if found.st_uid not in {os.geteuid(), 0}:
        raise StateError(
            f'"{path}" belongs to another user (uid {found.st_uid})',
            hint="Run kmirror as that user, or set KMIRROR_HOME to a folder of your own.",
        )
