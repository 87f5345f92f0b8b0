"""The log of compilation times."""

from tests.support.training import RecordingChannel
from worker.engine.state import RunState
from worker.protocol import Log
from worker.trainer.callbacks import CompileTimeCallback


def test_only_the_first_step_and_validation_batch_are_logged() -> None:
    channel, now = RecordingChannel(), iter([0.0, 2.0, 2.0, 3.0, 6.5, 6.5])
    callback, state = CompileTimeCallback(channel, clock=lambda: next(now)), RunState(max_epochs=1, steps_per_epoch=2)
    for _ in range(2):
        callback.on_train_batch_begin(state)
        callback.on_train_batch_end(state)
    callback.on_valid_batch_begin(state)
    callback.on_valid_batch_end(state)
    assert [log.message for log in channel.select_messages(Log)] == [
        "The first training step took 2.0 s, including compilation.",
        "The first validation batch took 3.5 s, including compilation.",
    ]
