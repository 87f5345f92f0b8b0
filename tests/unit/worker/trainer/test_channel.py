"""Messages between trainer and supervisor, and the end of the process without a supervisor."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest

from core.jobs import StopMode
from tests.support.processes import wait_for
from tests.support.training import RecordingChannel, build_spec
from worker.protocol import Log, RunStopped, Start, Stop
from worker.trainer.channel import EXIT_ORPHANED, Channel, preempt_on_signal


class Pipes(NamedTuple):
    """A channel, both ends of its pipes to the supervisor, and the exit statuses that it requested."""

    channel: Channel
    output_fd: int
    input_fd: int
    source_fd: int
    exits: list[int]

    def read_lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in os.read(self.output_fd, 65536).splitlines()]


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    output_fd, channel_output = os.pipe()
    source_fd, input_fd = os.pipe()
    exits: list[int] = []
    yield Pipes(Channel(channel_output, exit_process=exits.append), output_fd, input_fd, source_fd, exits)
    with suppress(OSError):  # a test may have closed it
        os.close(input_fd)
    for thread in threading.enumerate():
        if thread.name == "channel":
            thread.join(10)
    for fd in (output_fd, channel_output, source_fd):
        with suppress(OSError):
            os.close(fd)


def build_start_message(lease_s: float) -> Start:
    return Start(
        job_id="j", attempt=1, spec=build_spec(), dataset_dir="", dataset={}, work_dir="/nonexistent", lease_s=lease_s
    )


def test_messages_are_lines_of_json(pipes: Pipes) -> None:
    pipes.channel.send_log("a\nb", "warning")
    pipes.channel.send_final(RunStopped(mode=StopMode.PAUSE))
    assert pipes.read_lines() == [
        {"type": "log", "level": "warning", "message": "a\nb"},
        {"type": "stopped", "mode": "pause"},
    ]


def test_start_and_stop_are_received_even_in_parts(pipes: Pipes) -> None:
    start = build_start_message(1e6)
    content = b"".join(message.model_dump_json().encode() + b"\n" for message in (start, Stop(mode=StopMode.CANCEL)))
    pipes.channel.start_listening(pipes.source_fd)
    os.write(pipes.input_fd, content[:30])
    os.write(pipes.input_fd, content[30:])
    assert pipes.channel.wait_for_start() == start
    wait_for(lambda: pipes.channel.stop_mode == StopMode.CANCEL, "the stop request")
    assert pipes.exits == []


def test_invalid_message_is_logged_and_ignored(pipes: Pipes) -> None:
    pipes.channel._handle_line(b'{"type": "dance"}')
    (log,) = pipes.read_lines()
    assert log["level"] == "error"
    assert str(log["message"]).startswith("A message from the supervisor is not valid")


def test_closed_output_ends_the_process(pipes: Pipes) -> None:
    os.close(pipes.output_fd)
    pipes.channel.send(Log(level="info", message="a"))
    assert EXIT_ORPHANED in pipes.exits


def test_closed_input_ends_the_process_unless_it_is_closing(pipes: Pipes) -> None:
    os.close(pipes.input_fd)
    pipes.channel._read_messages(pipes.source_fd)
    assert pipes.exits == [EXIT_ORPHANED]
    pipes.channel.send_final(RunStopped(mode=StopMode.PAUSE))
    pipes.channel._read_messages(pipes.source_fd)
    assert pipes.exits == [EXIT_ORPHANED]


def test_expired_lease_ends_the_process(pipes: Pipes) -> None:
    pipes.channel._handle_line(build_start_message(0.01).model_dump_json().encode())
    pipes.channel.start_listening(pipes.source_fd)
    wait_for(lambda: EXIT_ORPHANED in pipes.exits, "the end of the lease")


def test_stop_requests_are_forwarded_including_an_earlier_one() -> None:
    channel, forwarded = RecordingChannel(), list[str]()
    channel.request_stop(StopMode.PAUSE)
    channel.forward_stop_to(forwarded.append)
    channel._handle_line(Stop(mode=StopMode.CANCEL).model_dump_json().encode())
    assert (forwarded, channel.stop_mode) == ([StopMode.PAUSE, StopMode.CANCEL], StopMode.CANCEL)


def test_signal_requests_a_preemption() -> None:
    channel, previous = RecordingChannel(), signal.getsignal(signal.SIGUSR1)
    try:
        preempt_on_signal(channel, signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_for(lambda: channel.stop_mode == StopMode.PREEMPT, "the signal")
    finally:
        signal.signal(signal.SIGUSR1, previous)
