"""Learning rates step by step, of the schedules that are tables or made of others."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from core.spec.schedules import ScheduleSpec
from worker.builders import make_schedule
from worker.engine.state import RunState

ADAPTER: TypeAdapter[ScheduleSpec] = TypeAdapter(ScheduleSpec)
WARM_UP: dict[str, Any] = {
    "name": "sequential",
    "schedules": [{"name": "linear", "start_factor": 0.1, "total_iters": 3}, {"name": "cosine"}],
    "milestones": [3],
}


def rates(schedule: dict[str, Any], epochs: int, *, num_groups: int = 1) -> list[float]:
    """Of the last group, in each epoch; its own learning rate is as many times 1 as there are groups."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": float(i + 1)} for i in range(num_groups)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    callback = make_schedule(ADAPTER.validate_python(schedule), optimizer, epochs, 5)
    optimizer.step()  # torch warns of a schedule that steps first
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[-1]["lr"])
        callback.on_epoch_end(RunState(max_epochs=epochs, steps_per_epoch=5))
    return found


def test_a_rise_goes_before_a_cosine_that_takes_what_is_left() -> None:
    found = rates(WARM_UP, 10)
    assert found[:4] == pytest.approx([0.1, 0.4, 0.7, 1.0])
    assert found[4:] == pytest.approx([0.9505, 0.8117, 0.6113, 0.3887, 0.1883, 0.0495], abs=1e-4)
    assert rates(WARM_UP, 10, num_groups=2) == pytest.approx([2 * rate for rate in found])


def test_tables_give_factors_and_the_last_one_stays() -> None:
    assert rates({"name": "lambda", "factors": [1.0, 0.5, 3.0]}, 5) == pytest.approx([1.0, 0.5, 3.0, 3.0, 3.0])
    assert rates({"name": "multiplicative", "factors": [0.5, 2.0, 0.1]}, 5) == pytest.approx([1, 0.5, 1, 0.1, 0.01])
    assert rates({"name": "constant", "factor": 0.25, "total_iters": 2}, 4) == pytest.approx([0.25, 0.25, 1, 1])


def test_parts_step_when_the_whole_does() -> None:
    spec = ADAPTER.validate_python(WARM_UP | {"call_on": "train_batch_end"})
    assert {part["call_on"] for part in spec.model_dump()["schedules"]} == {"train_batch_end"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"milestones": [2, 3]}, "2 schedules need 1 milestones"),
        ({"schedules": [*WARM_UP["schedules"], {"name": "step", "step_size": 1}], "milestones": [3, 3]}, "must rise"),
        ({"schedules": [{"name": "exponential", "call_on": "train_batch_end"}, {"name": "cosine"}]}, "as it does"),
        ({"schedules": [{"name": "one_cycle", "max_lr": 0.1}, {"name": "cosine"}]}, "does not match any"),
        ({"schedules": [WARM_UP, {"name": "cosine"}]}, "does not match any"),
        ({"schedules": "cosine"}, "valid tuple"),
    ],
)
def test_a_sequence_that_makes_no_sense_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ADAPTER.validate_python(WARM_UP | changes)
