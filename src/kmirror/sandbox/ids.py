"""Ids as Kafka writes them."""

import uuid
from base64 import urlsafe_b64encode


def new_id() -> str:
    """22 characters, as Kafka's own; the first is fixed: Kafka's formatter takes a leading "-" for an option."""
    return "k" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
