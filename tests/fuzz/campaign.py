"""Runs the targets in child processes, restarts those that end, and counts what happens."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.budget import DEFAULT_BUDGET, Budget, StatusBoard
from tests.fuzz.child import STATUS_FAILED, STATUS_RESTART, ChildConfig, Engine
from tests.fuzz.executor import compute_digest
from tests.fuzz.findings import ROOT, Finding, FindingsFolder, Kind, describe_death

MAX_DEATHS = 20
_POLL_S = 0.05
_GRACE_S = 15.0
_MAX_START_S = 300.0
_TRACEBACK_S = 5.0
_MINIMIZATION_S = 10.0
_CPU_SIGNALS = (-signal.SIGPROF, -signal.SIGXCPU)


class TargetFigures(NamedTuple):
    """What the run of a target did. `findings` are all that are stored, also from earlier runs."""

    target: str
    num_inputs: int
    seconds: float
    cpu_s: float
    failures: Counter[Kind]
    num_new_corpus_entries: int
    findings: list[Finding]


class HarnessError(Exception):
    """A child ended while it ran no example."""


class TargetCampaign:
    """Fuzzes one target.

    Args:
        target: the name of the target.
        engine: `coverage` or `seeded`.
        folder: contains the corpus, the findings and temporary files.
        budget: the limits of each example.
        seed: of the random numbers.
    """

    def __init__(
        self, target: str, engine: Engine, folder: Path, budget: Budget = DEFAULT_BUDGET, seed: int = 0
    ) -> None:
        self._budget = budget
        self._corpus = folder / "corpus" / target
        self._state = folder / "state"
        for path in (self._corpus, self._state):
            path.mkdir(parents=True, exist_ok=True)
        findings_folder = folder / "findings" / target
        self._findings = FindingsFolder(findings_folder)
        self._log = self._state / f"{target}.log"
        self._config = ChildConfig(
            target=target,
            engine=engine,
            board=str(self._state / f"{target}.board"),
            stack_file=str(self._state / f"{target}.stack"),
            corpus=str(self._corpus),
            findings=str(findings_folder),
            budget=budget,
            seed=seed,
        )
        self._fatal: list[str] = []
        self._num_inputs = 0
        self._cpu_s = 0.0
        self._elapsed_s = 0.0

    def run(self, seconds: float, num_examples: int = 2**62) -> TargetFigures:
        """Run for a time, or until `num_examples` examples of the engine `seeded` have run.

        The time starts with the first example. Loading the modules of a target is not included.

        Raises:
            HarnessError: the child ended while it ran no example.
        """
        num_before = self._count_corpus()
        while len(self._fatal) < MAX_DEATHS:
            left = seconds - self._elapsed_s
            if left <= 0 or self._num_inputs >= num_examples:
                break
            config = self._config._replace(
                seconds=left,
                num_examples=num_examples - self._num_inputs,
                seed=self._config.seed + len(self._fatal),
                fatal=tuple(self._fatal),
            )
            if self._run_child(config) == 0:
                break
        elapsed_s = self._elapsed_s
        for finding in self._findings.list_findings():
            if finding.kind in ("crash", "memory"):
                self._run_child(
                    self._config._replace(engine="minimize", file=str(finding.path), seconds=_MINIMIZATION_S)
                )
        findings = self._findings.list_findings()
        failures = Counter(finding.kind for finding in findings)
        num_new_entries = self._count_corpus() - num_before
        return TargetFigures(
            self._config.target, self._num_inputs, elapsed_s, self._cpu_s, failures, num_new_entries, findings
        )

    def reproduce(self, file: Path) -> str | None:
        """Run one input. Return the report of its failure, or None."""
        config = self._config._replace(engine="reproduce", file=str(file))
        if self._run_child(config) == 0:
            return None
        stack = Path(config.stack_file).read_text()
        return self._log.read_text(errors="replace") + stack

    def _run_child(self, config: ChildConfig) -> int:
        """Run a child to its end. Return 0 if it ended by itself, otherwise store the input that ended it."""
        Path(config.board).unlink(missing_ok=True)
        board = StatusBoard(Path(config.board))
        memory_folder = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with self._log.open("wb") as log, tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory_folder) as scratch:
            command = [sys.executable, "-m", "tests.fuzz.child", config.to_json()]
            environment = {**os.environ, "TMPDIR": scratch}
            child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment)
            is_stuck = self._watch(child, board, config.seconds)
        num_examples = board.num_examples
        if config.engine in ("coverage", "seeded"):
            self._num_inputs += num_examples
            self._cpu_s += board.cpu_s
        status = child.returncode
        body = None if status == STATUS_RESTART else board.read_input()
        board.close()
        if body is not None and (is_stuck or status != 0):
            kind: Kind = "timeout" if is_stuck or status in _CPU_SIGNALS else "death"
            report = Path(config.stack_file).read_text() or self._log.read_text(errors="replace")[-4000:]
            self._findings.add(describe_death(kind, f"The process ended with status {status}.\n{report}"), body)
            self._fatal.append(compute_digest(body))
            self._num_inputs += config.engine in ("coverage", "seeded")
            return status or 1
        if status == STATUS_RESTART:
            self._fatal.append("")  # counts towards `MAX_DEATHS`
            return status
        if status not in (0, STATUS_FAILED) and not (is_stuck and num_examples):
            tail = self._log.read_text(errors="replace")[-4000:]
            raise HarnessError(f"{config.target}: the child ended with status {status}: {tail}")
        return int(status == STATUS_FAILED)

    def _watch(self, child: subprocess.Popen[bytes], board: StatusBoard, seconds: float) -> bool:
        """Wait for the end of a child. End it, and return True, if an example or the child takes too long."""
        running, since, ends_at = 0, time.monotonic(), time.monotonic() + _MAX_START_S
        started_at: float | None = None
        is_stuck = False
        while child.poll() is None:
            time.sleep(_POLL_S)
            now = time.monotonic()
            if started_at is None and (board.running or board.num_examples):
                started_at, ends_at = now, now + seconds + _GRACE_S
            if board.running != running:
                running, since = board.running, now
            if now > ends_at or (running and now - since > self._budget.wall_s):
                is_stuck = True
                _end_child(child)
        self._elapsed_s += 0.0 if started_at is None else time.monotonic() - started_at
        return is_stuck

    def _count_corpus(self) -> int:
        return sum(1 for _ in self._corpus.iterdir())


def _end_child(child: subprocess.Popen[bytes]) -> None:
    """End a child with SIGPROF, for which it writes its traceback, or else with SIGKILL."""
    child.send_signal(signal.SIGPROF)
    try:
        child.wait(_TRACEBACK_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def run_campaigns(
    targets: Sequence[str], engine: Engine, folder: Path, seconds: float, num_processes: int, seed: int
) -> list[TargetFigures]:
    """Fuzz targets for `seconds` in total, `num_processes` of them at a time. Each gets an equal share."""
    share = seconds * min(num_processes, len(targets)) / len(targets)

    def run_target(target: str) -> TargetFigures:
        return TargetCampaign(target, engine, folder, seed=seed).run(share)

    with ThreadPoolExecutor(num_processes) as pool:
        return list(pool.map(run_target, targets))
