"""What must hold after any fault: no effect of a stale attempt, every file as its row says, nothing left over."""

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
)  # events that no fault may cause


def check(stack: Stack, *, is_idle: bool = True) -> None:
    """All of it. Unless jobs may still run, every job must have ended, been paused, or be waiting."""
    if stack.api is not None:
        wait_for(stack.is_ready, "the API to be ready again", SETTLE_S)
    if is_idle:
        wait_for(lambda: not active(stack), "the last attempt to end", SETTLE_S)
        wait_for(lambda: not orphans(stack), f"the end of {orphans(stack)}", SETTLE_S)
    rows_are_consistent(stack)
    files_are_as_their_rows_say(stack)
    logs_tell_of_no_defect_and_no_secret(stack)


def active(stack: Stack) -> list[str]:
    with transaction(stack.sessions, read_only=True) as session:
        return list(session.scalars(select(JobRow.id).where(JobRow.state.in_(ACTIVE))))


def orphans(stack: Stack) -> list[str]:
    """Trainers and packers of this stack whose parent is not one of its processes."""
    mark = f"CANDELA_HOME={stack.home}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdigit() or mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):  # it has just ended
            continue
        is_child = "worker.trainer" in command or "worker.importing.process" in command
        if is_child and is_alive(int(folder.name)) and parent not in stack.pids and parent != os.getpid():
            found.append(f"{folder.name} {command}")
    return found


def rows_are_consistent(stack: Stack) -> None:
    """At most one holder; moves that the life cycle has; one end; one model a success; no effect of an old token."""
    with transaction(stack.sessions, read_only=True) as session:
        for job in session.scalars(select(JobRow)):
            assert (job.owner is not None) == (job.state in ACTIVE), f"{job.id} {job.state} {job.owner}"
            moves = [event.payload for event in EventRepo(session).list_transitions(job.id)]
            for before, after in pairwise(moves):
                assert after["from"] == before["to"], moves
                assert after["to"] in TRANSITIONS[JobState(after["from"])], moves
            assert moves[-1]["to"] == job.state, moves
            ends = [move for move in moves if move["to"] in TERMINAL]
            assert len(ends) == (1 if job.state in TERMINAL else 0), moves
            assert sum(move["to"] == JobState.RUNNING for move in moves) == job.attempt == job.token, moves
            models = list(session.scalars(select(ModelVersionRow).where(ModelVersionRow.job_id == job.id)))
            assert len(models) == (1 if job.state is JobState.SUCCEEDED else 0), f"{job.id} {job.state}"
            assert all(model.job_token == job.token for model in models)
            seqs = [event.seq for event in EventRepo(session).list_after(job.id, 0, limit=100_000)]
            assert seqs == list(range(1, len(seqs) + 1)), f"{job.id}: events with a gap"


def files_are_as_their_rows_say(stack: Stack) -> None:
    with transaction(stack.sessions, read_only=True) as session:
        rows = [*session.scalars(select(CheckpointRow)), *session.scalars(select(ModelVersionRow))]
        named = [(f"{row.key}/{name}", file["sha256"]) for row in rows for name, file in row.files.items()]
        for version in session.scalars(select(DatasetVersionRow).where(DatasetVersionRow.packed_key.is_not(None))):
            files = (version.meta or {}).get("files", {})
            named += [(f"{version.packed_key}/{name}", file["sha256"]) for name, file in files.items()]
    for key, sha256 in named:
        path = stack.get_stored_path(key)
        assert path.exists(), f"{key} is gone"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256, f"{key} is not what its row says"


def logs_tell_of_no_defect_and_no_secret(stack: Stack) -> None:
    """No answer was a 500 for which nobody has a reason, no attempt and no sweep met what it does not know."""
    found = set()
    for path in stack.home.glob("*.log"):
        text = path.read_text(errors="replace")
        assert SECRET not in text, f"{path.name} has a key"
        found |= {line for line in text.splitlines() if any(f'"{event}"' in line for event in DEFECTS)}
    new, stack.accepted_defects = found - stack.accepted_defects, found
    assert not new, "\n".join(sorted(new))
