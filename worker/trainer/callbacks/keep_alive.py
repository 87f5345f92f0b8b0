"""Sends a keep-alive message during validation, when no metrics are sent."""

import time
from collections.abc import Callable

from worker.engine.callback import Callback
from worker.engine.state import RunState
from worker.protocol import TrainerAlive
from worker.trainer.channel import Channel


class KeepAliveCallback(Callback):
    """Sends `TrainerAlive` during validation, at most once per `every_s` seconds."""

    def __init__(self, channel: Channel, *, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._every_s = every_s
        self._clock = clock
        self._sent_at = clock()

    def on_valid_batch_end(self, state: RunState) -> None:
        self.send_if_due()

    def send_if_due(self) -> None:
        """Send `TrainerAlive` if the last one is at least `every_s` seconds old. Call this after each batch."""
        if self._clock() - self._sent_at >= self._every_s:
            self._sent_at = self._clock()
            self._channel.send(TrainerAlive())
