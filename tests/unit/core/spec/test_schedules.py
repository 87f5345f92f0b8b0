"""Specs of schedules that consist of others."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from core.spec.schedules import ScheduleSpec

ADAPTER: TypeAdapter[ScheduleSpec] = TypeAdapter(ScheduleSpec)
WARMUP: dict[str, Any] = {
    "name": "sequential",
    "schedules": [{"name": "linear", "start_factor": 0.1, "total_iters": 3}, {"name": "cosine"}],
    "milestones": [3],
}


def test_parts_of_a_sequence_step_with_it() -> None:
    spec = ADAPTER.validate_python(WARMUP | {"call_on": "train_batch_end"})
    assert {part["call_on"] for part in spec.model_dump()["schedules"]} == {"train_batch_end"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"milestones": [2, 3]}, "2 schedules require 1 milestones; got 2"),
        (
            {"schedules": [*WARMUP["schedules"], {"name": "step", "step_size": 1}], "milestones": [3, 3]},
            "must increase",
        ),
        (
            {"schedules": [{"name": "exponential", "call_on": "train_batch_end"}, {"name": "cosine"}]},
            "must be epoch_end, as in the sequence",
        ),
        ({"schedules": [{"name": "one_cycle", "max_lr": 0.1}, {"name": "cosine"}]}, "does not match any"),
        ({"schedules": [WARMUP, {"name": "cosine"}]}, "does not match any"),
        ({"schedules": "cosine"}, "valid tuple"),
    ],
)
def test_invalid_sequence_is_rejected(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ADAPTER.validate_python(WARMUP | changes)
