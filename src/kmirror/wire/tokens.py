"""Tokens for OAUTHBEARER, of an endpoint that gives them for a client id and secret (OAuth 2.0, RFC 6749 section 4.4).

Kept until four fifths of their life are over: all connections of a process to a cluster show the same one.
"""

import base64
import json
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Final

from kafka.net.sasl.oauth import AbstractTokenProvider

from kmirror.model.security import Security
from kmirror.wire.errors import AuthenticationFailed, ConnectionLost

_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 1 << 20
_USED: Final = 0.8  # of its life


@dataclass(frozen=True, slots=True)
class Token:
    """`expires_s` is a time of the wall clock; `principal` is the subject, where the token tells it."""

    text: str = field(repr=False)
    principal: str
    fetched_s: float
    expires_s: float

    @property
    def fresh(self) -> bool:
        return time.time() < self.fetched_s + (self.expires_s - self.fetched_s) * _USED


_kept: dict[Security, Token] = {}
_lock: Final = threading.Lock()


def token_of(security: Security) -> Token:
    """Blocks, up to 5 s; raises AuthenticationFailed where the endpoint refuses, ConnectionLost where it is silent."""
    with _lock:
        found = _kept.get(security)
        if found is None or not found.fresh:
            found = _fetch(security)
            _kept.clear()  # of secrets that have changed nothing is kept
            _kept[security] = found
        return found


class GivenToken(AbstractTokenProvider):
    """A token as kafka-python's mechanism takes it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def token(self) -> str:
        return self._text


def _fetch(security: Security) -> Token:
    import urllib.request  # noqa: PLC0415 - 20 ms that only OAUTHBEARER needs

    url = security.token_endpoint
    name = urllib.parse.urlsplit(url)._replace(query="", fragment="").geturl()
    form = {"grant_type": "client_credentials", **({"scope": security.scope} if security.scope else {})}
    pair = f"{security.client_id}:{security.client_secret}"  # not URL-encoded, as Kafka's own clients send it
    request = urllib.request.Request(  # noqa: S310 - the scheme is looked at in `_check_url`
        _check_url(url),
        data=urllib.parse.urlencode(form).encode(),
        headers={
            "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
            "Accept": "application/json",
        },
    )
    now = time.time()
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
            document = json.loads(answer.read(_MOST_BYTES))
        text = document["access_token"]
        expires_s = now + float(document.get("expires_in") or _life(text, now))
    except urllib.request.HTTPError as e:
        raise AuthenticationFailed(
            f"the token endpoint {name} answers {e.code}", hint="Check the client id and its secret."
        ) from None
    except OSError as e:
        raise ConnectionLost(f"the token endpoint {name} does not answer: {getattr(e, 'reason', e)}") from None
    except (ValueError, KeyError, TypeError):
        raise AuthenticationFailed(f"the token endpoint {name} gives no token", hint="Check its address.") from None
    return Token(str(text), str(_claims(text).get("sub", security.client_id)), now, expires_s)


def _check_url(url: str) -> str:
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise AuthenticationFailed(
            "the token endpoint is not an http or https URL", hint='Mend "sasl.oauthbearer.token.endpoint.url".'
        )
    return url


def _life(text: str, now: float) -> float:
    return float(_claims(text)["exp"]) - now


def _claims(text: str) -> dict[str, Any]:
    """What a JWT says; nothing where it is none."""
    try:
        body = text.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
