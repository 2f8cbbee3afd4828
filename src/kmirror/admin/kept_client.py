"""A client of librdkafka that many requests share, and that is replaced where it has no answer."""

import logging
import threading
import time
from typing import Any

from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from kmirror import __version__
from kmirror.admin.client_conf import client_conf
from kmirror.admin.failures import NOT_LET_IN
from kmirror.model.access import Access
from kmirror.wire.credentials import CredentialsMissing


class KeptClient:
    """`client` is the one to ask. Used from several threads; no request waits for longer than `timeout_s`."""

    def __init__(self, access: Access, timeout_s: float) -> None:
        self._access = access
        self._timeout_s = timeout_s
        self._noted: KafkaError | None = None
        self._renewing = threading.Lock()
        self._former: list[tuple[float, AdminClient]] = []
        self.client = self._new()

    def renew(self, client: AdminClient) -> None:
        """After this one had no answer. Does nothing where it was replaced already.

        It would go on to ask the broker that it has seen as the controller, and none else, for as long as that is gone;
        of a cluster in KRaft mode any broker may be that.
        """
        with self._renewing:
            if client is self.client:
                try:
                    new = self._new()
                except CredentialsMissing:  # a file that is being replaced: the one that we have is asked again
                    return
                now = time.monotonic()
                # Others may wait for it, and one that is gone has no more answers.
                self._former = [(since, each) for since, each in self._former if now - since < 2 * self._timeout_s]
                self._former.append((now, client))
                self.client = new

    def noted(self) -> KafkaError | None:
        """That we were not let in, if that is why there is no answer: librdkafka says "timed out"."""
        self.client.poll(0)  # hands out what was noted
        return self._noted

    def _note(self, error: KafkaError) -> None:
        if error.code() in NOT_LET_IN:
            self._noted = error

    def _new(self) -> AdminClient:
        silent = logging.Logger("librdkafka")  # noqa: LOG001 - not of the tree, so that no root handler prints it
        silent.addHandler(logging.NullHandler())
        more: dict[str, Any] = {
            "client.id": f"kmirror/{__version__}",
            "socket.timeout.ms": int(self._timeout_s * 1000),
            "reconnect.backoff.max.ms": 1000,
            # Connected to all brokers from the beginning. Else librdkafka takes a whole core while it waits for one
            # that has died: whatever changes a broker's state has it try again, and trying changes the state.
            "enable.sparse.connections": False,
            "error_cb": self._note,
        }
        with client_conf(self._access, more) as conf:
            return AdminClient(conf, logger=silent)
