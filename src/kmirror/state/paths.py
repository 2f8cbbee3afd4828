"""Where kmirror keeps its files: the user's config and state directories, or KMIRROR_HOME for both."""

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_config_path, user_data_path, user_state_path

from kmirror.errors import StateError
from kmirror.state.ours import check_ours


@dataclass(frozen=True, slots=True)
class Home:
    """`config` holds links.toml, `runtime` one folder a link, `data` what nobody may delete unasked."""

    config: Path
    runtime: Path
    data: Path | None = None

    @property
    def links_file(self) -> Path:
        return self.config / "links.toml"

    @property
    def records_directory(self) -> Path:
        """Where records are saved that are about to be deleted from a cluster."""
        return (self.data or self.config) / "records"

    def run_directory(self, link: str) -> Path:
        return self.runtime / link


def home() -> Home:
    """The home of this user, by KMIRROR_HOME or the platform's custom. Creates nothing."""
    override = os.environ.get("KMIRROR_HOME")
    if override:
        root = Path(override).absolute()
        return Home(root, root / "run")
    return Home(user_config_path("kmirror"), user_state_path("kmirror") / "run", user_data_path("kmirror"))


def private_directory(path: Path) -> Path:
    """`path`, made with mode 0700 where it is missing; raises StateError where that fails, or it is not ours."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise StateError(
            f'cannot create directory "{path}": {e.strerror}',
            hint="Make its parent writable, or set KMIRROR_HOME to another folder.",
        ) from e
    check_ours(path, link=True)  # a home may be elsewhere, as long as it is ours
    return path
