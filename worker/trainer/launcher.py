"""Starts the processes that train one network together, and speaks for them where they cannot; it trains nothing."""

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
from worker.engine.device import Unavailable
from worker.protocol import TRAINER_MESSAGES, Log, RunFailed, Start, Stop, TrainerMessage
from worker.trainer.channel import EXIT_ORPHANED, Channel

CUDA, VISIBLE = "cuda", "CUDA_VISIBLE_DEVICES"
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
POLL_S, GRACE_S = 0.1, 3.0
EXIT_FAILED = 1
Train = Callable[[Start, Channel], int]


class RankPipes(NamedTuple):
    """What a rank holds in its hands: the supervisor's ear, wishes, and a line to the launcher."""

    to_supervisor: Connection
    stop_requests: Connection
    report: Connection


def get_num_ranks(spec: AnyJobSpec) -> int:
    """How many processes the job is trained by."""
    return spec.resources.devices if isinstance(spec, JobSpec) else 1


def launch_ranks(start: Start, channel: Channel, train: Train) -> int:
    """Train with several processes of this process's group; the exit status is that of rank 0.

    Rank 0 has the supervisor's ear. When one dies, all do, and this process too, without a last word: so the job is
    tried again from its last checkpoint.

    Raises:
        Unavailable: this machine has not so many devices.
    """
    count = get_num_ranks(start.spec)
    environments = _build_environments(start, count)
    here = start.model_copy(update={"device": "cuda:0" if environments[0][VISIBLE] else "cpu"})
    wishes, wishes_in = multiprocessing.Pipe(duplex=False)
    reports = [multiprocessing.Pipe(duplex=False) for _ in range(count)]
    up = Connection(os.dup(channel.output_fd), readable=False)
    ranks = start_processes(
        name="ranks",
        entrypoint=run_rank,
        args={rank: (rank, os.getpid(), train, here, RankPipes(up, wishes, reports[rank][1])) for rank in range(count)},
        envs=environments,
        logs_specs=DefaultLogsSpecs(log_dir=str(Path(start.work_dir) / "ranks")),
        start_method="spawn",
    )
    up.close()
    channel.forward_stop_to(lambda mode: _send_stop(wishes_in, mode))
    return _RankWatcher(ranks, [receiver for receiver, _ in reports], channel).wait_for_exit()


def run_rank(rank: int, launcher_pid: int, train: Train, start: Start, pipes: RankPipes) -> int:
    """One of the processes, from its first line to its exit status."""
    parent_death.set_parent_death_signal(launcher_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a whole group: the launcher hears it and asks all to leave
    store = dist.FileStore(  # type: ignore[attr-defined]  # torch documents it and does not list it
        str(Path(start.work_dir) / "rendezvous"), get_num_ranks(start.spec)
    )
    backend = "cpu:gloo,cuda:nccl" if start.device != "cpu" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=get_num_ranks(start.spec))
    channel = RankChannel(pipes.to_supervisor.fileno(), rank, pipes.report)
    if rank == 0:
        channel.start_listening(pipes.stop_requests.fileno())
    status = train(start, channel)
    if status != EXIT_FAILED:  # else another may wait for ever for what is not said any more
        dist.destroy_process_group()
    return status


class RankChannel(Channel):
    """Only rank 0 speaks to the supervisor; of a failure every rank tells the launcher, who knows which came first."""

    def __init__(self, out: int, rank: int, report: Connection) -> None:
        super().__init__(out)
        self._rank, self._report = rank, report

    def send(self, message: TrainerMessage) -> None:
        is_error = isinstance(message, RunFailed) or (isinstance(message, Log) and message.level == "error")
        if is_error:
            self._report.send_bytes(message.model_dump_json().encode())
        elif self._rank == 0:
            super().send(message)


class _RankWatcher:
    """Waits for all ranks, or for the first that fails."""

    def __init__(self, ranks: PContext, reports: list[Connection], channel: Channel) -> None:
        self._ranks, self._reports, self._channel = ranks, reports, channel
        self._messages: dict[int, list[TrainerMessage]] = {}  # by rank, in the order of their first words
        self._failed_at: float | None = None

    def wait_for_exit(self) -> int:
        result: RunProcsResult | None = None
        while result is None and not self._is_over():
            self._receive_reports(POLL_S)
            result = self._ranks.wait(0)
        self._receive_reports(0.0)
        self._ranks.close(signal.SIGKILL)
        died = result is not None and result.is_failed()
        if self._report_failure(died=died):
            return EXIT_FAILED
        if result is None or died:
            return self._exit_like_rank(result)
        return int(result.return_values[0])

    def _is_over(self) -> bool:
        """A rank failed, and the others, who may wait for it for ever, had time to say what they know."""
        return self._failed_at is not None and time.monotonic() - self._failed_at > GRACE_S

    def _receive_reports(self, timeout_s: float) -> None:
        for report in wait(self._reports, timeout_s):
            assert isinstance(report, Connection)  # noqa: S101 - it is one of those waited for
            try:
                message = TRAINER_MESSAGES.validate_json(report.recv_bytes())
            except EOFError:
                self._reports.remove(report)
                continue
            self._messages.setdefault(self._reports.index(report), []).append(message)
            if isinstance(message, RunFailed) and self._failed_at is None:
                self._failed_at = time.monotonic()

    def _report_failure(self, *, died: bool) -> bool:
        """Say why it failed, if one of them knows; that others are gone is no reason where one of them died."""
        failed = [(rank, last) for rank, words in self._messages.items() if isinstance(last := words[-1], RunFailed)]
        classified = [(rank, last) for rank, last in failed if last.code != "internal"]
        candidates = classified or ([] if died else failed)
        if not candidates:
            return False
        rank, last = candidates[0]
        for words in self._messages[rank][:-1]:
            self._channel.send(words)
        self._channel.send_final(last)
        return True

    def _exit_like_rank(self, result: RunProcsResult | None) -> int:
        """End as the rank did that died: a supervisor knows what a kill means."""
        statuses = [] if result is None else [failed.exitcode for failed in result.failures.values()]
        sys.stderr.write(f"trainer: a process of the job died with status {statuses}\n")
        sys.stderr.flush()
        for status in statuses:
            if status == -signal.SIGKILL:
                os.kill(os.getpid(), signal.SIGKILL)
        return EXIT_ORPHANED


def _send_stop(pipe: Connection, mode: StopMode) -> None:
    with suppress(BrokenPipeError):
        os.write(pipe.fileno(), Stop(mode=mode).model_dump_json().encode() + b"\n")


def _build_environments(start: Start, count: int) -> dict[int, dict[str, str]]:
    """Every rank sees its own device alone; no rank is heard outside this machine."""
    devices = _list_visible_devices(start, count)
    interfaces = {"GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK}
    return {rank: {**interfaces, VISIBLE: device} for rank, device in enumerate(devices)}


def _list_visible_devices(start: Start, count: int) -> list[str]:
    """What each rank is to see of CUDA: nothing, where they compute on the CPU.

    Raises:
        Unavailable: there are not so many devices.
    """
    requested_device = start.spec.device
    visible = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    num_found = torch.cuda.device_count() if requested_device in {"auto", CUDA} and torch.cuda.is_available() else 0
    numbers = [int(name.partition(":")[2]) for name in start.devices] or list(range(count))
    if requested_device == "cpu" or (requested_device == "auto" and num_found < count):
        return [""] * count
    if requested_device not in {"auto", CUDA} or num_found <= max(numbers):
        raise Unavailable(f"{count} devices of {requested_device!r} were asked for; this machine has {num_found}")
    return [visible[number] if visible else str(number) for number in numbers]
