"""Progress of jobs that do not train."""

import pytest

from core.jobs import StopMode
from tests.support.training import RecordingChannel
from worker.engine.run import EvaluationInterrupted
from worker.engine.state import RunState
from worker.protocol import CurvePoint, Metrics, TrainerAlive
from worker.trainer.callbacks import ProgressReporter


def test_progress_has_the_remaining_time_and_is_limited_in_rate() -> None:
    channel, now = RecordingChannel(), [0.0]
    reporter = ProgressReporter(channel, 10, every_s=0.5, clock=lambda: now[0])
    for step, now[0] in ((1, 1.0), (2, 1.2), (4, 2.0), (10, 2.1)):
        reporter.report_step(step)
    sent = [(message.progress.step, message.progress.eta_seconds) for message in channel.select_messages(Metrics)]
    assert sent == [(1, 9.0), (4, 3.0), (10, 0.0)]


def test_points_are_sent_immediately() -> None:
    channel = RecordingChannel()
    reporter = ProgressReporter(channel, 10, clock=lambda: 0.0)
    point = CurvePoint(split="train", name="lr", step=2, epoch=1, value=0.1)
    reporter.report_step(1)
    reporter.report_step(2, (point,))
    assert [message.points for message in channel.select_messages(Metrics)] == [(), (point,)]


def test_quiet_reporter_sends_signs_of_life_only() -> None:
    channel = RecordingChannel()
    ProgressReporter(channel, 2, is_quiet=True).report_step(1)
    assert channel.messages == [TrainerAlive()]


def test_stop_request_interrupts_a_run_and_raises_an_error() -> None:
    channel, state = RecordingChannel(), RunState(max_epochs=1, steps_per_epoch=1)
    reporter = ProgressReporter(channel, 2)
    reporter.check_stop_request()
    channel.request_stop(StopMode.FINISH)  # without an epoch there is nothing to finish
    reporter.check_stop_request()
    channel.request_stop(StopMode.CANCEL)
    reporter.on_train_batch_end(state)
    assert state.is_interrupted
    with pytest.raises(EvaluationInterrupted):
        reporter.check_stop_request()
