"""Helpers of the job service; `tests/unit/app/api/test_jobs.py` tests its methods over HTTP."""

from typing import Any

import pytest

from app.services.jobs import apply_merge_patch, hash_spec, list_device_names
from core.db.tables import WorkerRow
from core.spec import JobSpec

SPEC: dict[str, Any] = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp", "hidden": [8]}, "epochs": 3}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 5}, SPEC | {"epochs": 5}),
        ({"epochs": None}, {key: value for key, value in SPEC.items() if key != "epochs"}),
        ({"architecture": {"dropout": 0.5}}, SPEC | {"architecture": {"name": "mlp", "hidden": [8], "dropout": 0.5}}),
        ({"architecture": {"name": "convnet"}}, SPEC | {"architecture": {"name": "convnet"}}),
        ({"architecture": {"name": "mlp", "hidden": None}}, SPEC | {"architecture": {"name": "mlp"}}),
        ({"optimizer": {"name": "sgd"}}, SPEC | {"optimizer": {"name": "sgd"}}),
    ],
)
def test_merge_patch_replaces_a_part_whole_when_its_name_changes(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert apply_merge_patch(SPEC, changes) == expected
    assert SPEC["architecture"] == {"name": "mlp", "hidden": [8]}


def test_hash_does_not_depend_on_the_order_of_fields() -> None:
    spec, reordered = JobSpec.model_validate(SPEC), JobSpec.model_validate(dict(reversed(SPEC.items())))
    assert hash_spec(spec) == hash_spec(reordered)
    assert hash_spec(spec) != hash_spec(JobSpec.model_validate(SPEC | {"epochs": 4}))


def test_numbered_device_counts_as_its_kind() -> None:
    worker = WorkerRow(devices=[{"name": "cpu"}, {"name": "cuda:1"}])
    assert set(list_device_names(worker)) == {"cpu", "cuda", "cuda:1"}
