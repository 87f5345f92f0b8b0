"""Helpers of the submission store; `test_job_submission.py` tests its methods."""

from typing import Any

from app.services.submission_store import hash_spec, list_device_names
from core.db.queue_tables import WorkerRow
from core.spec import JobSpec

SPEC: dict[str, Any] = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp", "hidden": [8]}, "epochs": 3}


def test_hash_does_not_depend_on_the_order_of_fields() -> None:
    spec, reordered = JobSpec.model_validate(SPEC), JobSpec.model_validate(dict(reversed(SPEC.items())))
    assert hash_spec(spec) == hash_spec(reordered)
    assert hash_spec(spec) != hash_spec(JobSpec.model_validate(SPEC | {"epochs": 4}))


def test_numbered_device_counts_as_its_kind() -> None:
    worker = WorkerRow(devices=[{"name": "cpu"}, {"name": "cuda:1"}])
    assert set(list_device_names(worker)) == {"cpu", "cuda", "cuda:1"}
