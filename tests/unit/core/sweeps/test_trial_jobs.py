"""The jobs of a trial: names, milestones, and copies of other trials."""

from typing import Any

import pytest

from core.errors import InvalidSpec
from core.spec import JobSpec
from core.sweeps.trial_jobs import build_trial_jobs, continue_checkpoint, format_job_name
from tests.support.sweeps import BASE, build_sweep


def build_job(sweep: Any = None, lr: Any = 0.1, **options: Any) -> JobSpec:
    fields: dict[str, Any] = {"name": "a", "model": "m", "number": 7} | options
    (spec,) = build_trial_jobs(sweep or build_sweep(scheduler="asha"), {"/optimizer/lr": lr}, **fields)
    return spec


def test_a_job_pauses_at_the_milestones_and_registers_nothing() -> None:
    spec = build_job(build_sweep(scheduler="asha", base=BASE | {"milestones": {"epochs": [2]}, "register": True}))
    assert spec.milestones is not None
    assert spec.milestones.epochs == (1, 3, 9)
    assert (spec.name, spec.model, spec.epochs, spec.should_register) == ("a-t0007", "m", 27, False)
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(("first_epoch", "epochs"), [(0, (1, 3, 9)), (3, (9,)), (9, None)])
def test_milestones_of_the_parent_are_omitted(first_epoch: int, epochs: tuple[int, ...] | None) -> None:
    milestones = build_job(first_epoch=first_epoch).milestones
    assert (None if milestones is None else milestones.epochs) == epochs


def test_a_trial_without_a_scheduler_has_no_milestones() -> None:
    assert build_job(build_sweep()).milestones is None


def test_repeats_have_different_names_and_seeds() -> None:
    specs = build_trial_jobs(build_sweep(repeats=3), {}, name="a", model="m", number=2)
    assert [(spec.name, spec.seed) for spec in specs] == [("a-t0002-r0", 0), ("a-t0002-r1", 1), ("a-t0002-r2", 2)]


def test_a_long_name_is_shortened() -> None:
    name = format_job_name("x" * 63, 12, 3, 5)
    assert len(name) == 63
    assert name.endswith("x-t0012-r3")


def test_a_value_that_the_job_refuses_is_an_error() -> None:
    with pytest.raises(InvalidSpec) as raised:
        build_job(lr="fast")
    assert raised.value.errors[0][0] == "/optimizer/lr"


@pytest.mark.parametrize(
    ("optimizer", "is_same"), [({"name": "adam", "lr": 0.9}, True), ({"name": "sgd", "lr": 0.1}, False)]
)
def test_a_copy_restores_the_state_of_the_same_optimizer(optimizer: dict[str, Any], is_same: bool) -> None:
    parent = build_job()
    spec = JobSpec.model_validate(parent.model_dump(mode="json") | {"optimizer": optimizer})
    source = continue_checkpoint(spec, parent, "0" * 32, 4).resume_from
    assert source is not None
    assert (source.job, source.checkpoint, source.model, source.records) == ("0" * 32, 4, True, True)
    assert (source.optimizer, source.callbacks) == (is_same, is_same)


def test_a_copy_has_one_source_of_weights() -> None:
    parent = build_job(build_sweep(scheduler="asha", base=BASE | {"init_from": "digits@1"}))
    spec = continue_checkpoint(parent, parent, "0" * 32, 4)
    assert spec.init_from is None
    JobSpec.model_validate(spec.model_dump(mode="json"))
