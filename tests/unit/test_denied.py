"""What is refused for a missing right says which, and what needs no such word stays as it is."""

import pytest

from kmirror.engine.denied import explained, explaining
from kmirror.errors import AuthorizationFailed, ClusterError
from kmirror.model.access import Access
from kmirror.model.rights import Need
from kmirror.wire.errors import TOPIC_AUTHORIZATION_FAILED, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, BrokerError

WEST = Access("west:9092")


def test_a_missing_right_is_named_with_its_cause_behind_it() -> None:
    refused = BrokerError(TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "InitProducerId")
    with pytest.raises(AuthorizationFailed) as caught, explaining(WEST, "kmirror.l.1"):
        raise refused
    assert caught.value.__cause__ is refused
    assert caught.value.hint
    assert "kmirror.l." in caught.value.hint


def test_any_other_error_is_raised_as_it_is() -> None:
    lost = ClusterError("connection lost")
    with pytest.raises(ClusterError) as caught, explaining(WEST, "kmirror.l.1"):
        raise lost
    assert caught.value is lost
    assert lost.__cause__ is None


def test_the_cause_of_an_error_in_other_words_is_looked_at() -> None:
    other = ClusterError("in the words of an opening")
    other.__cause__ = BrokerError(TOPIC_AUTHORIZATION_FAILED, "Fetch")
    assert isinstance(explained(other, WEST, need=Need("TOPIC", "READ", "orders")), AuthorizationFailed)
