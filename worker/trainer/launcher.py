"""Starts the training processes of a distributed run, waits for them and reports their failures."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import multiprocessing
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, PContext, start_processes
from torch.distributed.elastic.multiprocessing.api import RunProcsResult

from core import parent_death
from core.jobs import StopMode
from core.spec import AnyJobSpec, JobSpec
from worker.engine.device import DeviceUnavailable
from worker.protocol import TRAINER_MESSAGES, Log, RunFailed, Start, Stop, TrainerMessage
from worker.trainer.channel import EXIT_ORPHANED, Channel

CUDA, VISIBLE = "cuda", "CUDA_VISIBLE_DEVICES"
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
POLL_S, GRACE_S = 0.1, 3.0
EXIT_FAILED = 1
Train = Callable[[Start, Channel], int]


class RankPipes(NamedTuple):
    """The pipes of one rank.

    Attributes:
        to_supervisor: carries the rank's messages to the supervisor.
        stop_requests: carries stop requests from the launcher to the rank.
        report: carries the rank's errors to the launcher.
    """

    to_supervisor: Connection
    stop_requests: Connection
    report: Connection


def get_num_ranks(spec: AnyJobSpec) -> int:
    """Return the number of processes that the job requires, one per device."""
    return spec.resources.devices if isinstance(spec, JobSpec) else 1


def launch_ranks(start: Start, channel: Channel, train: Train) -> int:
    """Train with one process per device, and return the exit status of rank 0.

    All ranks belong to the launcher's process group. Rank 0 sends the messages to the supervisor. If a rank dies, the
    launcher kills all other ranks and exits without a final message, unless a rank has reported a specific failure.
    Without a final message, the supervisor retries the job from its last checkpoint.

    Raises:
        DeviceUnavailable: this machine does not have enough devices.
    """
    count = get_num_ranks(start.spec)
    environments = _build_environments(start, count)
    rank_start = start.model_copy(update={"device": "cuda:0" if environments[0][VISIBLE] else "cpu"})
    stop_receiver, stop_sender = multiprocessing.Pipe(duplex=False)
    reports = [multiprocessing.Pipe(duplex=False) for _ in range(count)]
    to_supervisor = Connection(os.dup(channel.output_fd), readable=False)
    ranks = start_processes(
        name="ranks",
        entrypoint=run_rank,
        args={
            rank: (rank, os.getpid(), train, rank_start, RankPipes(to_supervisor, stop_receiver, sender))
            for rank, (_, sender) in enumerate(reports)
        },
        envs=environments,
        logs_specs=DefaultLogsSpecs(log_dir=str(Path(start.work_dir) / "ranks")),
        start_method="spawn",
    )
    to_supervisor.close()
    channel.forward_stop_to(lambda mode: _send_stop(stop_sender, mode))
    return _RankWatcher(ranks, [receiver for receiver, _ in reports], channel).wait_for_exit()


def run_rank(rank: int, launcher_pid: int, train: Train, start: Start, pipes: RankPipes) -> int:
    """Run one rank of the distributed run in this process, and return its exit status."""
    parent_death.set_parent_death_signal(launcher_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher also receives this signal and stops all ranks
    store = dist.FileStore(  # type: ignore[attr-defined]  # torch does not export this public class
        str(Path(start.work_dir) / "rendezvous"), get_num_ranks(start.spec)
    )
    backend = "cpu:gloo,cuda:nccl" if start.device != "cpu" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=get_num_ranks(start.spec))
    channel = RankChannel(pipes.to_supervisor.fileno(), rank, pipes.report)
    if rank == 0:
        channel.start_listening(pipes.stop_requests.fileno())
    status = train(start, channel)
    if status != EXIT_FAILED:  # after a failure, the next call could wait forever for another rank
        dist.destroy_process_group()
    return status


class RankChannel(Channel):
    """The channel of one rank. Errors of all ranks are sent to the launcher.

    Rank 0 sends all other messages to the supervisor. Higher ranks drop them.
    """

    def __init__(self, output_fd: int, rank: int, report: Connection) -> None:
        super().__init__(output_fd)
        self._rank = rank
        self._report = report

    def send(self, message: TrainerMessage) -> None:
        is_error = isinstance(message, RunFailed) or (isinstance(message, Log) and message.level == "error")
        if is_error:
            self._report.send_bytes(message.model_dump_json().encode())
        elif self._rank == 0:
            super().send(message)


class _RankWatcher:
    """Waits until all ranks have ended or at least one has failed."""

    def __init__(self, ranks: PContext, reports: list[Connection], channel: Channel) -> None:
        self._ranks = ranks
        self._rank_by_report = {report: rank for rank, report in enumerate(reports)}
        self._channel = channel
        self._messages: dict[int, list[TrainerMessage]] = {}  # by rank, in the order of the first reports
        self._failed_at: float | None = None

    def wait_for_exit(self) -> int:
        """Wait for the ranks, report the first failure, if any, to the supervisor, and return the exit status."""
        result: RunProcsResult | None = None
        while result is None and not self._is_over():
            self._receive_reports(POLL_S)
            result = self._ranks.wait(0)
        self._receive_reports(0.0)
        self._ranks.close(signal.SIGKILL)
        has_died = result is not None and result.is_failed()
        if self._report_failure(has_died=has_died):
            return EXIT_FAILED
        if result is None or has_died:
            return self._exit_like_rank(result)
        return int(result.return_values[0])

    def _is_over(self) -> bool:
        """Return whether more than `GRACE_S` seconds have passed since the first failure of a rank.

        During this time, the other ranks can also report errors.
        """
        return self._failed_at is not None and time.monotonic() - self._failed_at > GRACE_S

    def _receive_reports(self, timeout_s: float) -> None:
        for report in wait(list(self._rank_by_report), timeout_s):
            assert isinstance(report, Connection)  # noqa: S101 - `wait` returns items of the list
            try:
                message = TRAINER_MESSAGES.validate_json(report.recv_bytes())
            except EOFError:
                del self._rank_by_report[report]
                continue
            self._messages.setdefault(self._rank_by_report[report], []).append(message)
            if isinstance(message, RunFailed) and self._failed_at is None:
                self._failed_at = time.monotonic()

    def _report_failure(self, *, has_died: bool) -> bool:
        """Send the first failure to the supervisor. Return False if there is no failure to report.

        A failure with a specific code takes precedence over an `internal` failure, which may only be a lost connection
        to a failed rank. If a rank died, `internal` failures are not reported.
        """
        failed = [
            (rank, last) for rank, messages in self._messages.items() if isinstance(last := messages[-1], RunFailed)
        ]
        classified = [(rank, last) for rank, last in failed if last.code != "internal"]
        candidates = classified or ([] if has_died else failed)
        if not candidates:
            return False
        rank, last = candidates[0]
        for message in self._messages[rank][:-1]:
            self._channel.send(message)
        self._channel.send_final(last)
        return True

    def _exit_like_rank(self, result: RunProcsResult | None) -> int:
        """Return the exit status after a rank died. If SIGKILL ended a rank, kill this process with SIGKILL too.

        The supervisor reports an out-of-memory failure only if SIGKILL ended the trainer process.
        """
        statuses = [] if result is None else [failure.exitcode for failure in result.failures.values()]
        sys.stderr.write(f"trainer: a process of the job ended with status {statuses}\n")
        sys.stderr.flush()
        for status in statuses:
            if status == -signal.SIGKILL:
                os.kill(os.getpid(), signal.SIGKILL)
        return EXIT_ORPHANED


def _send_stop(pipe: Connection, mode: StopMode) -> None:
    with suppress(BrokenPipeError):
        os.write(pipe.fileno(), Stop(mode=mode).model_dump_json().encode() + b"\n")


def _build_environments(start: Start, count: int) -> dict[int, dict[str, str]]:
    """Return each rank's environment variables. They limit the rank to one device and to the loopback interface."""
    devices = _list_visible_devices(start, count)
    interfaces = {"GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK}
    return {rank: {**interfaces, VISIBLE: device} for rank, device in enumerate(devices)}


def _list_visible_devices(start: Start, count: int) -> list[str]:
    """Return the value of CUDA_VISIBLE_DEVICES for each rank. The values are empty if the job runs on the CPU.

    Raises:
        DeviceUnavailable: this machine does not have enough devices.
    """
    requested_device = start.spec.device
    visible = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    num_available = torch.cuda.device_count() if requested_device in {"auto", CUDA} and torch.cuda.is_available() else 0
    numbers = [int(name.partition(":")[2]) for name in start.devices] or list(range(count))
    if requested_device == "cpu" or (requested_device == "auto" and num_available < count):
        return [""] * count
    if requested_device not in {"auto", CUDA} or num_available <= max(numbers):
        raise DeviceUnavailable(
            f"the job requests {count} devices of {requested_device!r}; this machine has {num_available}"
        )
    return [visible[number] if visible else str(number) for number in numbers]
