"""Checks that hold after every fault: consistent rows, intact files, no stale attempts, nothing left over."""

import hashlib
import os
from itertools import pairwise
from pathlib import Path

from sqlalchemy import select

from core.db.repos.events import EventRepo
from core.db.session import transaction
from core.db.tables import CheckpointRow, DatasetVersionRow, JobRow, ModelVersionRow
from core.jobs import ACTIVE, TERMINAL, TRANSITIONS, JobState
from tests.support.processes import is_alive, wait_for
from tests.support.stack import SECRET, Stack

SETTLE_S = 60.0
DEFECTS = (
    "request.crashed",
    "database.query_failed",
    "attempt.crashed",
    "maintenance.round_crashed",
    "sweep.round_crashed",
)  # events that no fault may cause


def check(stack: Stack, *, is_idle: bool = True) -> None:
    """Check everything. With `is_idle`, no job may be running."""
    if stack.api is not None:
        wait_for(stack.is_ready, "the API to be ready again", SETTLE_S)
    if is_idle:
        wait_for(lambda: not list_active_jobs(stack), "the last attempt to end", SETTLE_S)
        wait_for(lambda: not list_orphans(stack), f"the end of {list_orphans(stack)}", SETTLE_S)
    check_rows(stack)
    check_files(stack)
    check_logs(stack)


def list_active_jobs(stack: Stack) -> list[str]:
    with transaction(stack.sessions, read_only=True) as session:
        return list(session.scalars(select(JobRow.id).where(JobRow.state.in_(ACTIVE))))


def list_orphans(stack: Stack) -> list[str]:
    """Return trainers and import processes of this stack that have no parent in it."""
    mark = f"CANDELA_HOME={stack.home}".encode()
    parents = {os.getpid(), stack.find_zygote_pid(), *stack.pids}
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdigit() or mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):  # the process ended meanwhile
            continue
        is_child = "worker.trainer" in command or "worker.importing.process" in command
        if is_child and is_alive(int(folder.name)) and parent not in parents:
            found.append(f"{folder.name} {command}")
    return found


def check_rows(stack: Stack) -> None:
    """Check owners, state transitions, ends, models, tokens and event numbers of all jobs."""
    with transaction(stack.sessions, read_only=True) as session:
        for job in session.scalars(select(JobRow)):
            assert (job.owner is not None) == (job.state in ACTIVE), f"{job.id} {job.state} {job.owner}"
            transitions = [event.payload for event in EventRepo(session).list_transitions(job.id)]
            for before, after in pairwise(transitions):
                assert after["from"] == before["to"], transitions
                assert after["to"] in TRANSITIONS[JobState(after["from"])], transitions
            assert transitions[-1]["to"] == job.state, transitions
            ends = [transition for transition in transitions if transition["to"] in TERMINAL]
            assert len(ends) == (1 if job.state in TERMINAL else 0), transitions
            assert (
                sum(transition["to"] == JobState.RUNNING for transition in transitions) == job.attempt == job.token
            ), transitions
            models = list(session.scalars(select(ModelVersionRow).where(ModelVersionRow.job_id == job.id)))
            is_registered = job.state is JobState.SUCCEEDED and job.model_version is not None
            assert len(models) == int(is_registered), f"{job.id} {job.state}"
            should_register = job.spec.get("register", True)
            assert is_registered or not should_register or job.state is not JobState.SUCCEEDED, f"{job.id} has no model"
            assert all(model.job_token == job.token for model in models)
            seqs = [event.seq for event in EventRepo(session).list_after(job.id, 0, limit=100_000)]
            # Progress that an epoch or the end superseded is deleted, so that other numbers may follow each other.
            assert seqs == sorted(set(seqs)), f"{job.id}: events with equal numbers"
            assert (seqs[0], seqs[-1]) == (1, job.event_seq), f"{job.id}: the first or the last event is missing"


def check_files(stack: Stack) -> None:
    with transaction(stack.sessions, read_only=True) as session:
        rows = [*session.scalars(select(CheckpointRow)), *session.scalars(select(ModelVersionRow))]
        named = [(f"{row.key}/{name}", file["sha256"]) for row in rows for name, file in row.files.items()]
        for version in session.scalars(select(DatasetVersionRow).where(DatasetVersionRow.packed_key.is_not(None))):
            files = (version.meta or {}).get("files", {})
            named += [(f"{version.packed_key}/{name}", file["sha256"]) for name, file in files.items()]
    for key, sha256 in named:
        path = stack.get_stored_path(key)
        assert path.exists(), f"{key} is gone"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256, f"{key} differs from its row"


def check_logs(stack: Stack) -> None:
    """Check that no log has an unexpected error or an API key."""
    found = set()
    for path in stack.home.glob("*.log"):
        text = path.read_text(errors="replace")
        assert SECRET not in text, f"{path.name} has a key"
        found |= {line for line in text.splitlines() if any(f'"{event}"' in line for event in DEFECTS)}
    new, stack.accepted_defects = found - stack.accepted_defects, found
    assert not new, "\n".join(sorted(new))
