"""What a connection is made with, read when it is made: secrets and certificates may have changed since the last."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from kmirror.errors import ClusterError
from kmirror.model.access import Access
from kmirror.model.secrets import file_and_key, replace_references
from kmirror.model.security import Security, parse_security
from kmirror.model.setting import SettingError

_CODE: Final = "MISCONFIGURATION_ERROR"
_STORES: Final = ("ssl.truststore.location", "ssl.ca.location", "ssl.keystore.location")


class CredentialsMissing(ClusterError):
    """A secret or a certificate can't be read; `hint` says which variable or file to mend."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint=hint, code=_CODE)


def security_of(access: Access) -> Security:
    """Resolves references and reads files; raises CredentialsMissing. What it returns is to be shown nowhere."""
    try:
        properties = {key: replace_references(value, _look_up) for key, value in access.properties}
        security = parse_security(properties)
    except SettingError as e:
        raise CredentialsMissing(str(e), e.hint or "Mend the configuration of the link.") from None
    stores = {key: _read(properties[key], key) for key in _STORES if properties.get(key)}
    authorities = stores.get("ssl.truststore.location") or stores.get("ssl.ca.location")
    store = stores.get("ssl.keystore.location", "")
    return _with_stores(security, authorities, store)


def _with_stores(security: Security, authorities: str | None, store: str) -> Security:
    """A keystore file holds the key and the chain, one after the other (KIP-651): each is looked for in it."""
    return replace(
        security,
        authorities=authorities or security.authorities,
        chain=store or security.chain,
        key=store or security.key,
    )


def _look_up(kind: str, rest: str) -> str:
    if kind == "env":
        value = os.environ.get(rest)
        if value is None:
            raise CredentialsMissing(
                f"the environment has no {rest}, which a secret of the link refers to",
                f"Set {rest} where the command runs and where the link's runner is started.",
            )
        return value
    path, key = file_and_key(rest)
    text = _read(path, "a secret of the link")
    return _property(text, path, key) if key else text.rstrip("\r\n")


def _read(path: str, what: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError as e:
        why = (e.strerror or str(e)).lower()
    except UnicodeDecodeError:
        why = "it is not text; a store has to be in PEM format"
    raise CredentialsMissing(f'cannot read "{path}" ({what}): {why}', f'Check the path and the mode of "{path}".')


def _property(text: str, path: str, key: str) -> str:
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() == key and not line.lstrip().startswith(("#", "!")):
            return value.strip()
    raise CredentialsMissing(f'"{path}" has no "{key}", which a secret of the link refers to', f'Add "{key}=.." to it.')


@contextmanager
def pem_path(text: str) -> Iterator[str]:
    """A path under which libraries find `text`: in memory where the system can, else a file for its owner alone."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(text.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".pem") as file:  # made with mode 0600
        file.write(text)
        file.flush()
        yield file.name
