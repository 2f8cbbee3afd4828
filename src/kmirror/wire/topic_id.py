"""Topic ids (KIP-516): 16 bytes on the wire, base64url without padding for people (org.apache.kafka.common.Uuid)."""

import base64


def topic_id_bytes(text: str) -> bytes:
    """Reads both alphabets: librdkafka writes ids in plain base64."""
    return base64.urlsafe_b64decode(text.rstrip("=") + "==")


def topic_id_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
