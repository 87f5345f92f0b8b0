"""Tiny jobs while processes are killed at random: `make soak T=600`; prints what was done and what was lost.

Every job has a twin of the same spec and seed that nobody disturbed; their weights must be equal. At the end nothing
is left over: no job without an end, no process, no file that no row wants, no message.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select

from core.db import schema
from core.db.session import make_engine, make_sessions, transaction
from core.db.tables import JobRow, ModelVersionRow, OutboxRow
from core.jobs import TERMINAL, JobState
from core.storage import LocalStorage
from tests.support import invariants
from tests.support.processes import wait_for
from tests.support.servers import RedisServer, valkey_server
from tests.support.stack import Stack
from worker.maintenance.orphaned_files import orphans

EPOCHS = (2, 5, 100, 600)  # of the different jobs: most are over at once, some are met by several faults
WAITING = 20  # jobs kept in the queue
PAUSE_S = (0.5, 6.0)  # between faults: some jobs get through undisturbed, some do not
# How often each is drawn: what trains is what must survive.
FAULTS = {
    "trainer": 4,
    "freeze": 3,
    "pause": 2,
    "worker": 1,
    "worker leaves": 1,
    "sweep": 1,
    "api": 1,
    "valkey": 1,
    "valkey empty": 1,
}
CALM = (
    20  # jobs that nobody disturbs, afterwards, twice: memory and descriptors after the first lot and after the second
)
# The cap of attempts is another test's: here every job must come to its end.
SETTINGS = {"CANDELA_MAX_ATTEMPTS": "1000", "CANDELA_STALL_S": "5", "CANDELA_SLOTS": "2"}


class Figures(NamedTuple):
    """What a soak did, and what it cost."""

    seconds: float
    seed: int
    faults: dict[str, int]
    jobs: int
    succeeded: int
    cancelled: int
    attempts: int
    lost: int
    doubled: int
    different_weights: int
    left_over: list[str]
    rss_mb: dict[str, tuple[float, float]]
    descriptors: dict[str, tuple[int, int]]

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.different_weights or self.left_over)


def spec(kind: int) -> dict[str, Any]:
    return {"name": f"soak-{kind}", "model": f"soak-{kind}", "epochs": EPOCHS[kind], "seed": kind}


class Soak:
    """One service under fire."""

    def __init__(self, stack: Stack, valkey: RedisServer, chance: random.Random) -> None:
        self.stack, self.valkey, self.chance = stack, valkey, chance
        self.faults: Counter[str] = Counter()
        self.posted: dict[str, int] = {}
        self.asked_to_cancel: set[str] = set()

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.stack.heal()
            self._keep_busy()
            time.sleep(self.chance.uniform(*PAUSE_S))
            (fault,) = self.chance.choices(list(FAULTS), weights=list(FAULTS.values()))
            if self._inject(fault):
                self.faults[fault] += 1

    def settle(self, patience_s: float) -> None:
        """No more faults: everything comes to its end."""
        self.stack.heal()
        for row in self._rows(JobState.PAUSED):
            self._ask(row.id, "resume")
        wait_for(lambda: all(row.state in TERMINAL for row in self._rows()), "the last job", patience_s)

    def _keep_busy(self) -> None:
        open_jobs = [row for row in self._rows() if row.state not in TERMINAL]
        for row in open_jobs:
            if row.state is JobState.PAUSED:
                self._ask(row.id, "resume")
        for _ in range(WAITING - len(open_jobs)):
            kind = self.chance.randrange(len(EPOCHS))
            self.posted[self.stack.post(**spec(kind))] = kind
        if self.chance.random() < 0.2 and open_jobs:
            job_id = self.chance.choice(open_jobs).id
            self.asked_to_cancel.add(job_id)
            self._ask(job_id, self.chance.choice(["cancel", "cancel?force=true"]))

    def _rows(self, *states: JobState) -> list[JobRow]:
        query = select(JobRow).where(JobRow.state.in_(states)) if states else select(JobRow)
        with transaction(self.stack.sessions, read_only=True) as session:
            return list(session.scalars(query))

    def _ask(self, job_id: str, what: str) -> None:
        status = self.stack.http.post(f"/v1/jobs/{job_id}/{what}").status_code
        assert status in (202, 409), status  # 409: it went on meanwhile

    def _inject(self, fault: str) -> bool:
        stack = self.stack
        parts = {"worker": stack.worker, "sweep": stack.sweep, "api": stack.api}
        running = self._rows(JobState.RUNNING)
        match fault:
            case "worker" | "sweep" | "api":
                _kill(parts[fault])
                if fault == "api":
                    stack.reconnect()
            case "worker leaves":
                assert stack.worker is not None
                stack.worker.terminate()
                stack.worker.wait(60)
            case "trainer":  # one that trains, starts, or stands by
                pids = stack.trainers()
                if not pids:
                    return False
                os.kill(self.chance.choice(pids), signal.SIGKILL)
            case "freeze":
                known = {(row.runtime or {}).get("trainer_pid") for row in running}
                met = [pid for pid in stack.trainers() if pid in known]
                if not met:
                    return False
                os.kill(self.chance.choice(met), signal.SIGSTOP)
            case "valkey" | "valkey empty":
                self.valkey.kill()
                time.sleep(self.chance.uniform(0.0, 2.0))
                if fault == "valkey empty":
                    self.valkey.empty()
                self.valkey.start()
            case "pause":
                if not running:
                    return False
                self._ask(self.chance.choice(running).id, "pause")
            case _:
                raise ValueError(fault)
        return True


def _kill(process: Any) -> None:
    process.kill()
    process.wait()


def _weight(pid: int) -> tuple[float, int]:
    """Resident megabytes and open descriptors of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def soak(folder: Path, seconds: float, seed: int, say: Callable[[str], object] = lambda _: None) -> Figures:
    """Start a service in `folder`, torment it for so long, and look at what is left."""
    home = folder / "home"
    home.mkdir()
    url = f"sqlite:///{home / 'candela.db'}"
    schema.upgrade(url)
    engine = make_engine(url)
    with valkey_server() as valkey:
        stack = Stack(home, url, valkey.url, make_sessions(engine), **SETTINGS)
        try:
            stack.heal()
            twins = {kind: stack.weights(stack.post(**spec(kind))) for kind in range(len(EPOCHS))}
            keys = _keys(valkey)
            say(f"{len(twins)} undisturbed twins are done; faults begin, seed {seed}")
            torment = Soak(stack, valkey, random.Random(seed))
            began = time.monotonic()
            torment.run(seconds)
            torment.settle(max(300.0, seconds))
            spent = time.monotonic() - began
            say(f"{sum(torment.faults.values())} faults, {len(torment.posted)} jobs; now {2 * CALM} in peace")
            weights = [_in_peace(stack) for _ in range(2)]
            invariants.check(stack)
            return _figures(torment, twins, spent, seed)._replace(
                rss_mb={part: (weights[0][part][0], weights[1][part][0]) for part in weights[0]},
                descriptors={part: (weights[0][part][1], weights[1][part][1]) for part in weights[0]},
                left_over=[*_left_over(stack), *sorted(_keys(valkey) - keys)],
            )
        finally:
            stack.close()
            engine.dispose()


def _figures(torment: Soak, twins: dict[int, str], seconds: float, seed: int) -> Figures:
    stack = torment.stack
    rows = {row.id: row for row in torment._rows()}
    with transaction(stack.sessions, read_only=True) as session:
        models = list(session.scalars(select(ModelVersionRow)))
    by_job = Counter(model.job_id for model in models)
    wrong = [m.job_id for m in models if m.job_id in torment.posted and m.sha256 != twins[torment.posted[m.job_id]]]
    lost = [
        job_id
        for job_id in torment.posted
        if job_id not in rows
        or rows[job_id].state is JobState.FAILED
        or (rows[job_id].state is JobState.CANCELLED and job_id not in torment.asked_to_cancel)
    ]
    mine = [rows[job_id] for job_id in torment.posted if job_id in rows]
    return Figures(
        seconds=round(seconds, 1),
        seed=seed,
        faults=dict(sorted(torment.faults.items())),
        jobs=len(torment.posted),
        succeeded=sum(row.state is JobState.SUCCEEDED for row in mine),
        cancelled=sum(row.state is JobState.CANCELLED for row in mine),
        attempts=sum(row.attempt for row in mine),
        lost=len(lost),
        doubled=sum(count - 1 for count in by_job.values()),
        different_weights=len(wrong),
        left_over=[],
        rss_mb={},
        descriptors={},
    )


def _in_peace(stack: Stack) -> dict[str, tuple[float, int]]:
    """Some jobs that nobody disturbs; what every part weighs afterwards."""
    for job_id in [stack.post(**spec(0)) for _ in range(CALM)]:
        stack.finished(job_id)
        stack.http.get("/v1/jobs")
    parts = {"api": stack.api, "worker": stack.worker, "sweep": stack.sweep}
    return {name: _weight(part.pid) for name, part in parts.items() if part is not None}


def _left_over(stack: Stack) -> list[str]:
    """Files that no row wants, processes without a parent, messages that nobody took."""
    storage = LocalStorage.at(str(stack.home / "store"))
    found = [*orphans(stack.sessions, storage, min_age_s=1e-6), *invariants.orphans(stack)]
    storage.close()
    with transaction(stack.sessions, read_only=True) as session:
        return found + [f"message {row.topic} {row.subject_id}" for row in session.scalars(select(OutboxRow))]


def _keys(valkey: RedisServer) -> set[str]:
    """What the queue's server holds; a list of messages is a key while it is not empty."""
    with valkey.client as client:
        return {key.decode() if isinstance(key, bytes) else str(key) for key in client.keys("*")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None, help="chosen at random, and printed, unless given")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    folder = Path(tempfile.mkdtemp(prefix="candela-soak-"))
    figures = soak(folder, options.seconds, seed, lambda text: sys.stderr.write(text + "\n"))
    sys.stdout.write(json.dumps(figures._asdict(), indent=2) + "\n")
    if figures.is_clean:
        shutil.rmtree(folder)
        return 0
    sys.stderr.write(f"NOT CLEAN; everything is left in {folder}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
