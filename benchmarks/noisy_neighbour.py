"""Measures how long a well-behaved client waits while another client sends hostile inputs.

    python -m benchmarks.noisy_neighbour [--senders 20] [--only 0,3] [--rounds 1] [--write]

Starts a service with its defaults in a temporary home and trains a small model. The client posts a job, follows its
events and requests a prediction every 0.1 s: before each hostile input alone, then while it is sent by all senders in
parallel. The senders send again one second after the last response, until the job has ended. They have a high niceness,
because real ones use other machines. With --write, the table is written to RESULTS.md.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.serving.arithmetic import replace_section
from benchmarks.serving.rounds import Conditions, cpu_seconds, measure_conditions
from benchmarks.serving.servers import ROOT, run_candela
from tests.support.hostile_requests import INPUTS, HostileInput
from tests.support.hostile_senders import HostileSenders
from tests.support.process_memory import Memory, measure_memory, reset_peak
from tests.support.well_behaved_client import OPERATIONS, WellBehavedClient, pause_job

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
HEADING = "## `noisy_neighbour.py`: a well-behaved client next to hostile ones"
MAX_ADDED_S = 1.0
MAX_ADDED_MIB = 100
SETTLE_S = 20.0
IDLE_TIMEOUT_S = 120.0
IDLE_CORES = 0.1
HEAD_START_S = 0.1
BUSY_CORES = 0.3  # less other work changes a wait by less than its scatter
BUSY_WARNING = "**Other processes used the CPUs: the waits are not valid. Repeat the run.**"


class Outcome(NamedTuple):
    """The measurement of one input."""

    name: str
    num_senders: int
    responses: Counter[str]
    alone_s: dict[str, float]
    added_s: dict[str, float]
    failures: list[str]
    before: Memory
    after: Memory

    @property
    def is_within_limits(self) -> bool:
        is_released = self.after.total - self.before.total <= MAX_ADDED_MIB
        return not self.failures and is_released and max(self.added_s.values(), default=0) <= MAX_ADDED_S


class Bench(NamedTuple):
    """The running service, and the id of a paused job."""

    url: str
    pid: int
    job_id: str


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(arguments)
    started_at, conditions = time.monotonic(), measure_conditions()
    print(f"before: {conditions}", flush=True)
    home = Path(tempfile.mkdtemp(prefix="candela-noisy-neighbour-"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CANDELA_")}
    try:
        with run_candela(home, environment) as (url, pid):
            bench = prepare(url, pid)
            outcomes = [
                measure_input(bench, INPUTS[number], options.senders)
                for number in options.only
                for _ in range(options.rounds)
            ]
    finally:
        shutil.rmtree(home, ignore_errors=True)
    text = format_report(outcomes, (conditions, measure_conditions()), time.monotonic() - started_at)
    print(f"\n{text}")
    if options.write:
        RESULTS.write_text(replace_section(RESULTS.read_text(), HEADING, text))
    return 1 if any(outcome.failures for outcome in outcomes) else 0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--senders", type=int, default=20, help="how many requests are sent in parallel")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each input")
    parser.add_argument("--write", action="store_true", help=f"write the table to {RESULTS.name}")
    numbers = ", ".join(f"{number}: {one.name}" for number, one in enumerate(INPUTS))
    parser.add_argument(
        "--only",
        type=lambda text: [int(number) for number in text.split(",")],
        default=list(range(len(INPUTS))),
        help=f"numbers of inputs, separated by commas. {numbers}",
    )
    return parser.parse_args(arguments)


def prepare(url: str, pid: int) -> Bench:
    """Train the model and pause a job."""
    client = WellBehavedClient(url)
    client.train_model()
    job_id = pause_job(url)
    client.run_job()  # warms up all processes
    wait_until_idle(pid)
    return Bench(url, pid, job_id)


def measure_alone(bench: Bench) -> dict[str, float]:
    """Return the worst wait of each operation of a client that is alone.

    Raises:
        RuntimeError: an operation failed.
    """
    client = WellBehavedClient(bench.url)
    wait_until_idle(bench.pid)
    client.run_job()
    if client.failures:
        raise RuntimeError(f"the client fails even alone: {client.failures}")
    return {name: max(waits) for name, waits in client.waits_s.items()}


def measure_input(bench: Bench, hostile_input: HostileInput, num_senders: int) -> Outcome:
    """Run the client while the input is sent. Wait until the memory is released, at most 20 s."""
    client, alone_s = WellBehavedClient(bench.url), measure_alone(bench)
    with HostileSenders(hostile_input, bench.url, bench.job_id, num_senders) as senders:
        wait_until_idle(bench.pid)
        reset_peak(bench.pid)
        before = measure_memory(bench.pid)
        senders.start()
        time.sleep(HEAD_START_S)
        try:
            client.run_job()
        except Exception as error:  # noqa: BLE001 - it is in the table, and the other inputs are still measured
            client.failures.append(repr(error))
        responses = senders.stop()
    after = wait_for_released_memory(bench.pid, before)
    added = {name: max(waits) - alone_s[name] for name, waits in client.waits_s.items() if waits}
    count = hostile_input.num_senders or num_senders
    outcome = Outcome(hostile_input.name, count, responses, alone_s, added, client.failures, before, after)
    print(format_row(outcome), *client.failures[:3], sep="\n    ", flush=True)
    return outcome


def wait_until_idle(pid: int) -> None:
    """Wait until the service uses hardly any processor time: imports have ended, and a standby trainer is ready."""
    until = time.monotonic() + IDLE_TIMEOUT_S
    while time.monotonic() < until:
        before = cpu_seconds(pid)
        time.sleep(1)
        if cpu_seconds(pid) - before < IDLE_CORES:
            return
    print(f"    the service is still busy after {IDLE_TIMEOUT_S:g} s", flush=True)


def wait_for_released_memory(pid: int, before: Memory) -> Memory:
    """Return the memory as soon as it is within 100 MiB of the memory before, or after 20 s."""
    until = time.monotonic() + SETTLE_S
    while True:
        after = measure_memory(pid)
        if after.total <= before.total + MAX_ADDED_MIB or time.monotonic() > until:
            return after
        time.sleep(0.5)


def format_alone(outcomes: Sequence[Outcome]) -> str:
    """Return the range of the waits of the client alone."""
    ranges = {name: [outcome.alone_s[name] for outcome in outcomes] for name in OPERATIONS}
    return ", ".join(f"{name} {min(waits):.2f} to {max(waits):.2f} s" for name, waits in ranges.items())


def format_row(outcome: Outcome) -> str:
    """Return the row of an input. Waits are in seconds, memory in MiB."""
    responses = ", ".join(f"{count} x {status}" for status, count in sorted(outcome.responses.items()))
    waits = [f"{outcome.added_s[name]:+.2f}" if name in outcome.added_s else "failed" for name in OPERATIONS]
    memory = [
        outcome.before.total,
        outcome.after.total,
        outcome.before.http,
        outcome.after.http_peak,
        outcome.after.http,
    ]
    cells = [outcome.name, responses, *waits, *(f"{value:.0f}" for value in memory)]
    return "| " + " | ".join([*cells, str(len(outcome.failures))]) + " |"


def format_report(outcomes: Sequence[Outcome], conditions: tuple[Conditions, Conditions], seconds: float) -> str:
    num_within = sum(outcome.is_within_limits for outcome in outcomes)
    header = ["input", "responses", *OPERATIONS, "all: before", "after", "HTTP: before", "peak", "after", "failed"]
    waits = f"at most {MAX_ADDED_S:g} s longer"
    memory = f"at most {MAX_ADDED_MIB} MiB more than before within {SETTLE_S:g} s"
    return "\n".join(
        [
            f"`python -m benchmarks.noisy_neighbour`: {os.cpu_count()} processors, {seconds:.0f} s in all. Each input "
            f"is sent by {min(outcome.num_senders for outcome in outcomes)} senders in parallel (the posts with one",
            "key by 50, the event streams by 520), again one second after the last response, while the client posts a",
            "job, follows its events and requests a prediction every 0.1 s.",
            "",
            f"Worst waits of the client alone, before each input: {format_alone(outcomes)}.",
            "The table shows by how many seconds the worst wait under each input is longer. Memory is in MiB: the",
            "proportional set size of all processes, and the resident set size of the HTTP process.",
            f"Targets: waits {waits}, memory {memory},",
            f"no failed operation. {num_within} of {len(outcomes)} inputs reach all of them.",
            "",
            f"Other work on the machine, before: {conditions[0]}; after: {conditions[1]}.",
            *([BUSY_WARNING] if max(one.busy_cores for one in conditions) > BUSY_CORES else []),
            "",
            "| " + " | ".join(header) + " |",
            "|---|---" + "|--:" * (len(header) - 2) + "|",
            *map(format_row, outcomes),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
