"""Runs tiny jobs while processes are killed at random (`make soak T=600`) and prints the figures as JSON.

The weights of every job must equal those of an undisturbed reference with the same spec and seed. At the end nothing is
left: no unfinished job, no process, no orphaned file, no message.
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
from core.db.queue_tables import OutboxRow
from core.db.session import make_engine, make_session_factory, transaction
from core.db.tables import JobRow, ModelVersionRow
from core.jobs import TERMINAL, JobState
from core.storage import LocalStorage
from tests.support import invariants
from tests.support.processes import wait_for
from tests.support.servers import RedisServer, valkey_server
from tests.support.stack import Stack
from worker.maintenance.orphaned_files import find_orphaned_files

EPOCHS = (2, 5, 100, 600)  # of the kinds of jobs: most finish at once, some meet several faults
NUM_WAITING = 20  # jobs kept in the queue
PAUSE_S = (0.5, 6.0)  # between faults: some jobs run undisturbed, some do not
# The weight of each fault in the random choice: the trainer must survive most.
FAULTS = {
    "trainer": 4,
    "freeze": 3,
    "pause": 2,
    "worker": 1,
    "worker shutdown": 1,
    "maintenance": 1,
    "api": 1,
    "valkey": 1,
    "valkey emptied": 1,
}
NUM_CALM = 20  # undisturbed jobs afterwards, twice: memory and descriptors are measured after each half
# Another test covers the retry limit: here every job must finish.
SETTINGS = {"CANDELA_MAX_ATTEMPTS": "1000", "CANDELA_STALL_S": "5", "CANDELA_SLOTS": "2"}


class Figures(NamedTuple):
    """What a soak did and what it cost."""

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
    leftovers: list[str]
    rss_mb: dict[str, tuple[float, float]]
    descriptors: dict[str, tuple[int, int]]

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.different_weights or self.leftovers)


def build_spec(kind: int) -> dict[str, Any]:
    return {"name": f"soak-{kind}", "model": f"soak-{kind}", "epochs": EPOCHS[kind], "seed": kind}


class FaultInjector:
    """Posts jobs to one service and injects faults."""

    def __init__(self, stack: Stack, valkey: RedisServer, chance: random.Random) -> None:
        self.stack, self.valkey, self.chance = stack, valkey, chance
        self.faults: Counter[str] = Counter()
        self.posted: dict[str, int] = {}
        self.cancelled_ids: set[str] = set()

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.stack.start_missing()
            self._fill_queue()
            time.sleep(self.chance.uniform(*PAUSE_S))
            (fault,) = self.chance.choices(list(FAULTS), weights=list(FAULTS.values()))
            if self._inject_fault(fault):
                self.faults[fault] += 1

    def settle(self, timeout_s: float) -> None:
        """Stop injecting faults and wait until every job has finished."""
        self.stack.start_missing()
        for row in self.list_jobs(JobState.PAUSED):
            self._post_action(row.id, "resume")
        wait_for(lambda: all(row.state in TERMINAL for row in self.list_jobs()), "the last job", timeout_s)

    def _fill_queue(self) -> None:
        open_jobs = [row for row in self.list_jobs() if row.state not in TERMINAL]
        for row in open_jobs:
            if row.state is JobState.PAUSED:
                self._post_action(row.id, "resume")
        for _ in range(NUM_WAITING - len(open_jobs)):
            kind = self.chance.randrange(len(EPOCHS))
            self.posted[self.stack.submit_job(**build_spec(kind))] = kind
        if self.chance.random() < 0.2 and open_jobs:
            job_id = self.chance.choice(open_jobs).id
            self.cancelled_ids.add(job_id)
            self._post_action(job_id, self.chance.choice(["cancel", "cancel?force=true"]))

    def list_jobs(self, *states: JobState) -> list[JobRow]:
        query = select(JobRow).where(JobRow.state.in_(states)) if states else select(JobRow)
        with transaction(self.stack.sessions, read_only=True) as session:
            return list(session.scalars(query))

    def _post_action(self, job_id: str, action: str) -> None:
        status = self.stack.http.post(f"/v1/jobs/{job_id}/{action}").status_code
        assert status in (202, 409), status  # 409: its state changed since

    def _inject_fault(self, fault: str) -> bool:
        stack = self.stack
        parts = {"worker": stack.worker, "maintenance": stack.maintenance, "api": stack.api}
        running = self.list_jobs(JobState.RUNNING)
        match fault:
            case "worker" | "maintenance" | "api":
                kill_process(parts[fault])
                if fault == "api":
                    stack.reconnect()
            case "worker shutdown":
                assert stack.worker is not None
                stack.worker.terminate()
                stack.worker.wait(60)
            case "trainer":  # one that trains, or sometimes the process that forks them
                zygote = stack.find_zygote_pid()
                pids = [*stack.list_trainer_pids(), *([] if zygote is None else [zygote])]
                if not pids:
                    return False
                os.kill(self.chance.choice(pids), signal.SIGKILL)
            case "freeze":
                trainer_pids = {(row.runtime or {}).get("trainer_pid") for row in running}
                candidates = [pid for pid in stack.list_trainer_pids() if pid in trainer_pids]
                if not candidates:
                    return False
                os.kill(self.chance.choice(candidates), signal.SIGSTOP)
            case "valkey" | "valkey emptied":
                self.valkey.kill()
                time.sleep(self.chance.uniform(0.0, 2.0))
                if fault == "valkey emptied":
                    self.valkey.empty()
                self.valkey.start()
            case "pause":
                if not running:
                    return False
                self._post_action(self.chance.choice(running).id, "pause")
            case _:
                raise ValueError(fault)
        return True


def kill_process(process: Any) -> None:
    process.kill()
    process.wait()


def measure_process(pid: int) -> tuple[float, int]:
    """Return the resident megabytes and the number of open descriptors of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def soak(folder: Path, seconds: float, seed: int, report: Callable[[str], object] = lambda _: None) -> Figures:
    """Start a service in `folder`, inject faults for so long, and return the figures."""
    home = folder / "home"
    home.mkdir()
    url = f"sqlite:///{home / 'candela.db'}"
    schema.upgrade_schema(url)
    engine = make_engine(url)
    with valkey_server() as valkey:
        stack = Stack(home, url, valkey.url, make_session_factory(engine), **SETTINGS)
        try:
            stack.start_missing()
            references = {
                kind: stack.get_weights_sha256(stack.submit_job(**build_spec(kind))) for kind in range(len(EPOCHS))
            }
            keys = list_keys(valkey)
            report(f"{len(references)} undisturbed references are done; faults start, seed {seed}")
            injector = FaultInjector(stack, valkey, random.Random(seed))
            started_at = time.monotonic()
            injector.run(seconds)
            injector.settle(max(300.0, seconds))
            elapsed_s = time.monotonic() - started_at
            report(
                f"{sum(injector.faults.values())} faults, {len(injector.posted)} jobs; now {2 * NUM_CALM} undisturbed"
            )
            measurements = [run_undisturbed(stack) for _ in range(2)]
            invariants.check(stack)
            return build_figures(injector, references, elapsed_s, seed)._replace(
                rss_mb={part: (measurements[0][part][0], measurements[1][part][0]) for part in measurements[0]},
                descriptors={part: (measurements[0][part][1], measurements[1][part][1]) for part in measurements[0]},
                leftovers=[*list_leftovers(stack), *sorted(list_keys(valkey) - keys)],
            )
        finally:
            stack.close()
            engine.dispose()


def build_figures(injector: FaultInjector, references: dict[int, str], seconds: float, seed: int) -> Figures:
    stack = injector.stack
    rows = {row.id: row for row in injector.list_jobs()}
    with transaction(stack.sessions, read_only=True) as session:
        models = list(session.scalars(select(ModelVersionRow)))
    by_job = Counter(model.job_id for model in models)
    different = [
        m.job_id for m in models if m.job_id in injector.posted and m.sha256 != references[injector.posted[m.job_id]]
    ]
    lost = [
        job_id
        for job_id in injector.posted
        if job_id not in rows
        or rows[job_id].state is JobState.FAILED
        or (rows[job_id].state is JobState.CANCELLED and job_id not in injector.cancelled_ids)
    ]
    posted = [rows[job_id] for job_id in injector.posted if job_id in rows]
    return Figures(
        seconds=round(seconds, 1),
        seed=seed,
        faults=dict(sorted(injector.faults.items())),
        jobs=len(injector.posted),
        succeeded=sum(row.state is JobState.SUCCEEDED for row in posted),
        cancelled=sum(row.state is JobState.CANCELLED for row in posted),
        attempts=sum(row.attempt for row in posted),
        lost=len(lost),
        doubled=sum(count - 1 for count in by_job.values()),
        different_weights=len(different),
        leftovers=[],
        rss_mb={},
        descriptors={},
    )


def run_undisturbed(stack: Stack) -> dict[str, tuple[float, int]]:
    """Run some undisturbed jobs; return the memory and descriptors of every part afterwards."""
    for job_id in [stack.submit_job(**build_spec(0)) for _ in range(NUM_CALM)]:
        stack.wait_for_end(job_id)
        stack.http.get("/v1/jobs")
    parts = {"api": stack.api, "worker": stack.worker, "maintenance": stack.maintenance}
    pids = {name: part.pid for name, part in parts.items() if part is not None}
    pids["zygote"] = wait_for(stack.find_zygote_pid, "the process that forks trainers")
    return {name: measure_process(pid) for name, pid in pids.items()}


def list_leftovers(stack: Stack) -> list[str]:
    """Return orphaned files, orphaned processes and messages that were not sent."""
    storage = LocalStorage.open_folder(str(stack.home / "store"))
    found = [*find_orphaned_files(stack.sessions, storage, min_age_s=1e-6), *invariants.list_orphans(stack)]
    storage.close()
    with transaction(stack.sessions, read_only=True) as session:
        return found + [f"message {row.topic} {row.subject_id}" for row in session.scalars(select(OutboxRow))]


def list_keys(valkey: RedisServer) -> set[str]:
    """Return the keys of the queue's server; a queue is a key while it is not empty."""
    with valkey.client as client:
        return {key.decode() if isinstance(key, bytes) else str(key) for key in client.keys("*")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None, help="default: random, printed at the start")
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
