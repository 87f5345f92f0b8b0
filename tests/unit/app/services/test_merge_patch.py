"""Changes that are merged into the spec of a cloned job."""

from typing import Any

import pytest

from app.services.merge_patch import apply_merge_patch

SPEC: dict[str, Any] = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp", "hidden": [8]}, "epochs": 3}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 5}, SPEC | {"epochs": 5}),
        ({"epochs": None}, {key: value for key, value in SPEC.items() if key != "epochs"}),
        ({"architecture": {"dropout": 0.5}}, SPEC | {"architecture": {"name": "mlp", "hidden": [8], "dropout": 0.5}}),
        ({"architecture": {"name": "convnet"}}, SPEC | {"architecture": {"name": "convnet"}}),
        ({"architecture": {"name": "mlp", "hidden": None}}, SPEC | {"architecture": {"name": "mlp"}}),
        ({"architecture": "mlp"}, SPEC),
        ({"architecture": "convnet"}, SPEC | {"architecture": {"name": "convnet"}}),
        ({"optimizer": "sgd"}, SPEC | {"optimizer": "sgd"}),
        ({"optimizer": {"name": "sgd"}}, SPEC | {"optimizer": {"name": "sgd"}}),
    ],
)
def test_merge_patch_replaces_a_part_whole_when_its_name_changes(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert apply_merge_patch(SPEC, changes) == expected
    assert SPEC["architecture"] == {"name": "mlp", "hidden": [8]}
