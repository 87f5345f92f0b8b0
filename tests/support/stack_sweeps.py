"""Runs sweeps over tiny jobs on a whole service."""

from typing import Any

from sqlalchemy import select

from core.db.repos.jobs import JobRepo
from core.db.repos.sweeps import SweepRepo
from core.db.session import transaction
from core.db.sweep_tables import SweepRow, SweepTrialRow
from core.db.tables import JobRow, ModelVersionRow
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TERMINAL_SWEEP
from tests.support.processes import wait_for
from tests.support.stack import TINY, Stack

EPOCHS = 3
SPACE = {"/schedule/max_lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True}}


def start_sweep(stack: Stack, name: str, **fields: Any) -> str:
    """Store a sweep over the learning rates of tiny jobs, whose dataset is imported first. Return its id."""
    stack.get_weights_sha256(stack.submit_job(epochs=1))
    document = {"base": TINY | {"epochs": EPOCHS}, "space": SPACE, "scheduler": "asha", "sampler": "random"} | fields
    with transaction(stack.sessions) as session:
        job = session.scalars(select(JobRow).where(JobRow.name == "tiny").limit(1)).one()
        document["base"] = document["base"] | {"dataset": JobRepo(session).get(job.id).spec["dataset"]}
        spec = SweepSpec.model_validate(document).model_dump(mode="json")
        row = SweepRow(name=name, model_name=name, spec=spec, dataset_version_id=job.dataset_version_id)
        return SweepRepo(session).add(row).id


def find_ended(stack: Stack, sweep_id: str) -> SweepRow | None:
    """Return a sweep if it has ended."""
    with transaction(stack.sessions, read_only=True) as session:
        sweep = SweepRepo(session).get(sweep_id)
        return sweep if sweep.state in TERMINAL_SWEEP else None


def wait_for_sweep(stack: Stack, sweep_id: str, timeout_s: float = 300) -> SweepRow:
    return wait_for(lambda: find_ended(stack, sweep_id), "the end of the sweep", timeout_s)


def wait_for_steps(stack: Stack, sweep_id: str, number: int) -> None:
    """Wait until a sweep has started or continued trials this many times."""

    def has_steps() -> bool:
        with transaction(stack.sessions, read_only=True) as session:
            return SweepRepo(session).get(sweep_id).num_steps >= number

    wait_for(has_steps, f"step {number} of the sweep", 240)


def describe_sweep(stack: Stack, sweep_id: str) -> dict[str, Any]:
    """Return what an undisturbed twin must have too."""
    with transaction(stack.sessions, read_only=True) as session:
        sweep = SweepRepo(session).get(sweep_id)
        trials = session.scalars(
            select(SweepTrialRow).where(SweepTrialRow.sweep_id == sweep_id).order_by(SweepTrialRow.number)
        )
        query = select(ModelVersionRow).where(ModelVersionRow.name == sweep.model_name)
        return {
            "state": sweep.state,
            "reason": sweep.finish_reason,
            "steps": SweepRepo(session).list_steps(sweep_id),
            "trials": [(row.number, row.state, row.parameters, row.epochs, row.best_score) for row in trials],
            "best": (sweep.best_trial, sweep.best_score),
            "versions": [(version.version, version.sha256) for version in session.scalars(query)],
        }
