"""Main function of `python -m worker.trainer`. This process does not use the queue or the database."""

import signal
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from core.process_tuning import TRAIN_NICENESS, set_niceness
from worker.engine.device import DeviceUnavailable, keep_freed_memory
from worker.engine.snapshot_checksums import BadSnapshot
from worker.protocol import EXIT_STOPPED, MilestoneReached, RunStopped, Start
from worker.trainer import cli
from worker.trainer.channel import STDIN, Channel, preempt_on_signal, redirect_stdout
from worker.trainer.error_classification import classify_error
from worker.trainer.job_kinds import execute_job
from worker.trainer.launcher import get_num_ranks, launch_ranks
from worker.trainer.warm_up import warm_up

EXIT_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job and return the exit status: 0 if it finished, 75 if it stopped as requested, 1 if it failed."""
    options = cli.create_parser().parse_args(arguments)
    if options.spec is None:
        return serve_supervisor()
    channel = Channel(redirect_stdout())
    keep_freed_memory()
    preempt_on_signal(channel, signal.SIGTERM, signal.SIGINT)
    try:
        start = cli.build_start_message(options, partial(channel.send_log, level="warning"))
    except BadSnapshot as error:
        channel.send_final(classify_error(error, None))
        return EXIT_FAILED
    return launch_or_run(start, channel)


def serve_supervisor(*, is_warm: bool = False) -> int:
    """Run the job of the start message that arrives on stdin, and return the exit status.

    Args:
        is_warm: this process has already run a training step.
    """
    channel = Channel(redirect_stdout())
    keep_freed_memory()
    set_niceness(TRAIN_NICENESS)
    channel.start_listening(STDIN)
    if not is_warm:
        warm_up()
    start = channel.wait_for_start()
    preempt_on_signal(channel, signal.SIGTERM)  # before the start message, SIGTERM ends the process
    return launch_or_run(start, channel)


def launch_or_run(start: Start, channel: Channel) -> int:
    """Run the job and return the exit status. If the job requests several devices, start one process per device."""
    if get_num_ranks(start.spec) == 1:
        return run_job(start, channel)
    try:
        return launch_ranks(start, channel, run_job)
    except DeviceUnavailable as error:
        channel.send_final(classify_error(error, start.spec))
        return EXIT_FAILED


def run_job(start: Start, channel: Channel, *, snapshot_every_s: float = 60.0) -> int:
    """Run the job in this process, send its final message, and return the exit status."""
    try:
        message = execute_job(start, channel, snapshot_every_s=snapshot_every_s)
    except Exception as error:  # noqa: BLE001 - every error is reported to the supervisor
        channel.send_log(traceback.format_exc(), "error")
        channel.send_final(classify_error(error, start.spec, Path(start.dataset_dir)))
        return EXIT_FAILED
    if message is None:
        return 0
    channel.send_final(message)
    return EXIT_STOPPED if isinstance(message, MilestoneReached | RunStopped) else 0
