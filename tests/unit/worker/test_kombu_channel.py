"""A malformed message in the queue is skipped."""

from queue import Empty
from typing import Any

import pytest
from kombu.transport import redis

from worker.kombu_channel import TolerantChannel, install_channel


@pytest.mark.parametrize(
    "error", [ValueError("no JSON"), KeyError("properties"), TypeError("None"), AttributeError("x")]
)
def test_a_malformed_message_counts_as_none(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(redis.Channel, "_brpop_read", fail)
    channel = TolerantChannel.__new__(TolerantChannel)
    with pytest.raises(Empty):
        channel._brpop_read()


def test_other_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("closed")

    monkeypatch.setattr(redis.Channel, "_brpop_read", fail)
    channel = TolerantChannel.__new__(TolerantChannel)
    with pytest.raises(ConnectionError):
        channel._brpop_read()


def test_installing_replaces_the_channel_of_the_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis.Transport, "Channel", redis.Channel)
    install_channel()
    assert redis.Transport.Channel is TolerantChannel
