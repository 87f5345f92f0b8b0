"""Rules for optimizers, schedules and patterns of parameter names."""

from typing import Any

import pytest

from app.services.catalog import list_union_members
from core.spec.optimizers import OptimizerSpec
from tests.support.validation import find_errors, resolve_training

SGD, ADAM, MUON, ADADELTA = ({"name": name} for name in ("sgd", "adam", "muon", "adadelta"))


def composite(*parts: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"name": "several", "parts": [{"match": match, "optimizer": optimizer} for match, optimizer in parts]}


def test_pattern_of_a_group_must_match_a_parameter() -> None:
    groups = [{"match": "*.weight", "lr": 0.1}, {"match": "stem.*"}]
    ((pointer, reason),) = find_errors(optimizer={"name": "sgd", "groups": groups})
    assert pointer == "/optimizer/groups/1/match"
    assert reason.startswith("no parameter matches 'stem.*'; the parameters are ")


def test_pattern_of_a_callback_must_match_a_parameter() -> None:
    errors = find_errors(callbacks=[{"name": "time_limit", "seconds": 1.0}, {"name": "freeze", "match": "stem.*"}])
    assert [pointer for pointer, _ in errors] == ["/callbacks/1/match"]


def test_pattern_of_freeze_must_match_a_parameter() -> None:
    assert [pointer for pointer, _ in find_errors(freeze=["features.*", "!stem.*"])] == ["/freeze/1"]
    resolve_training(freeze=["features.*", "!*.bias"])


def test_several_optimizers_have_every_parameter_and_some_each() -> None:
    resolve_training(optimizer=composite(("head.*", SGD), ("*", ADAM)))
    ((pointer, reason),) = find_errors(optimizer=composite(("stem.*", SGD), ("*", ADAM)))
    assert pointer == "/optimizer/parts/0/match"
    assert reason.startswith("no parameter matches 'stem.*'; the parameters are features.0.weight, ")
    ((pointer, reason),) = find_errors(optimizer=composite(("features.*", SGD), ("*.weight", ADAM)))
    assert pointer == "/optimizer/parts"
    assert reason == "no part matches head.0.bias, head.2.bias, head.3.bias; let the last part match '*'"
    ((pointer, reason),) = find_errors(optimizer=composite(("*", SGD), ("head.*", ADAM)))
    assert pointer == "/optimizer/parts/1/match"
    assert reason == "earlier parts match all parameters of 'head.*'; put narrower patterns first"


def test_group_of_a_part_must_match_a_parameter_of_that_part() -> None:
    grouped = SGD | {"groups": [{"match": "*.bias", "lr": 0.1}, {"match": "features.*", "lr": 0.1}]}
    ((pointer, reason),) = find_errors(optimizer=composite(("head.*", grouped), ("*", ADAM)))
    assert pointer == "/optimizer/parts/0/optimizer/groups/1/match"
    assert reason.startswith("no parameter matches 'features.*'; the parameters are head.0.weight, head.0.bias, ")
    resolve_training(optimizer=grouped)


def test_one_cycle_requires_an_optimizer_with_momentum() -> None:
    one_cycle = {"name": "one_cycle", "max_lr": 0.01}
    resolve_training(optimizer=composite(("head.*", MUON), ("*", ADAM)), schedule=one_cycle)
    errors = find_errors(optimizer=composite(("head.*", MUON), ("*", ADADELTA)), schedule=one_cycle)
    reason = "'adadelta' and 'muon' have no momentum to cycle; set cycle_momentum to false"
    assert errors == [("/schedule/cycle_momentum", reason)]
    assert [pointer for pointer, _ in find_errors(optimizer=MUON, schedule=one_cycle)] == ["/schedule/cycle_momentum"]
    resolve_training(optimizer=MUON, schedule={**one_cycle, "cycle_momentum": False})


@pytest.mark.parametrize("kind", list(list_union_members(OptimizerSpec)), ids=lambda kind: kind.__name__)
def test_optimizers_with_momentum_have_a_field_for_it(kind: Any) -> None:
    if kind.has_momentum:
        assert {"momentum", "betas"} & set(kind.model_fields)


@pytest.mark.parametrize(
    ("schedule", "pointer"),
    [
        ({"name": "cyclic", "base_lr": 0.1, "max_lr": 0.01}, "/schedule/base_lr"),
        ({"name": "multi_step", "milestones": [3, 3]}, "/schedule/milestones"),
        ({"name": "one_cycle", "max_lr": 0.1, "pct_start": 0.1}, "/schedule/pct_start"),
    ],
)
def test_schedule_must_fit_the_run(schedule: dict[str, Any], pointer: str) -> None:
    errors = find_errors(schedule=schedule, optimizer=ADAM, batch_size=100, epochs=10)
    assert [error for error, _ in errors] == [pointer]


def test_resolved_spec_has_the_default_weight_decay_of_its_optimizer() -> None:
    def resolve_decay(name: str) -> bool:
        return bool(resolve_training(optimizer={"name": name}).spec.model_dump()["optimizer"]["decay_norms_and_biases"])

    assert resolve_decay("adamw") is False
    assert resolve_decay("adam") is True


def test_lbfgs_excludes_clipping_and_loss_scaling() -> None:
    clip = [{"name": "gradient_clip"}]
    errors = find_errors(optimizer={"name": "lbfgs"}, callbacks=clip, precision="fp16", device="cpu")
    assert {"/precision", "/callbacks/0"} <= {pointer for pointer, _ in errors}
