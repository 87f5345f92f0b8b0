"""Signs of life during validation."""

from tests.support.training import RecordingChannel
from worker.engine.state import RunState
from worker.protocol import TrainerAlive
from worker.trainer.callbacks import KeepAliveCallback


def test_message_is_sent_at_most_once_per_interval() -> None:
    channel, now = RecordingChannel(), [0.0]
    callback = KeepAliveCallback(channel, every_s=1.0, clock=lambda: now[0])
    for now[0] in (0.5, 0.9, 1.0, 1.5, 2.1):
        callback.on_valid_batch_end(RunState(max_epochs=1, steps_per_epoch=1))
    assert channel.messages == [TrainerAlive(), TrainerAlive()]
