"""The spec that repeats a training, and the differences of environments."""

from typing import Any, get_args

import pytest

from core.reproduction import OriginalTraining, build_reproduction_spec, list_environment_differences
from core.spec.callbacks import CallbackSpec

SPEC: dict[str, Any] = {
    "kind": "train",
    "name": "digits",
    "device": "auto",
    "precision": "auto",
    "threads": "auto",
    "batch_size": 32,
    "callbacks": [{"name": "keep_best"}],
    "schedule": {"name": "one_cycle", "max_lr": "auto", "pct_start": 0.3},
    "max_runtime_s": 60.0,
    "register": True,
}


def build(spec: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return build_reproduction_spec(OriginalTraining("a" * 32, "b" * 64, spec=SPEC | (spec or {}), **fields))


def test_what_the_training_chose_is_fixed() -> None:
    spec = build(runtime={"device": "cuda:0", "precision": "bf16", "threads": 3, "torch": "2"})
    assert (spec["device"], spec["precision"], spec["threads"]) == ("cuda", "bf16", 3)
    assert (spec["kind"], spec["original"]) == ("reproduce", {"job": "a" * 32, "sha256": "b" * 64})
    assert (spec["name"], spec["register"], spec["max_runtime_s"]) == ("reproduce-digits", False, None)
    assert build({"device": "cuda:1"}, runtime={"device": "cuda:0"})["device"] == "cuda:1"
    assert len(build({"name": "x" * 63})["name"]) == 63


def test_what_searches_found_is_fixed() -> None:
    finder = {"callbacks": [{"name": "batch_size_finder"}, {"name": "keep_best"}, {"name": "time_limit"}]}
    spec = build(finder, runtime={"batch_size": {"chosen": 256}, "lr_find": {"suggestion": 0.02}})
    assert (spec["batch_size"], spec["callbacks"]) == (256, [{"name": "keep_best"}])
    assert spec["schedule"] == {"name": "one_cycle", "max_lr": 0.02, "pct_start": 0.3}


def test_without_a_job_the_spec_is_that_of_the_model() -> None:
    spec = build()
    assert (spec["device"], spec["threads"], spec["batch_size"], spec["stop_after_step"]) == ("auto", "auto", 32, None)


@pytest.mark.parametrize(
    ("reason", "is_limited", "step"),
    [
        ("user_finished", False, 70),
        ("time limit of 9 s reached", True, 70),
        ("valid_loss has not improved", True, 70),  # the step at which it would end without the limit
        ("valid_loss has not improved", False, None),
        (None, True, None),
    ],
)
def test_only_an_end_that_depends_on_time_is_fixed(reason: str | None, is_limited: bool, step: int | None) -> None:
    spec = {"callbacks": [{"name": "time_limit", "seconds": 9.0}]} if is_limited else {}
    assert build(spec, stop_reason=reason, num_steps=70)["stop_after_step"] == step


def test_every_callback_that_ends_after_a_time_is_removed() -> None:
    kinds = {kind.model_fields["name"].default: kind for kind in get_args(get_args(CallbackSpec)[0])}
    kept = {each["name"] for each in build({"callbacks": [{"name": name} for name in kinds]})["callbacks"]}
    assert kinds.keys() - kept == {"time_limit"} == {name for name, kind in kinds.items() if kind.ends_after_time}


def test_unknown_callback_of_an_old_spec_is_kept() -> None:
    assert build({"callbacks": [{"name": "gone"}]})["callbacks"] == [{"name": "gone"}]


def test_environments_differ_by_fields_that_can_explain_results() -> None:
    first = {"torch": "2.8", "threads": 1, "python": "3.12", "worker": "a", "trainer_pid": 1}
    second = {"torch": "2.9", "threads": 1, "worker": "b", "trainer_pid": 2}
    assert list_environment_differences(first, second) == [
        {"field": "torch", "original": "2.8", "reproduced": "2.9"},
        {"field": "python", "original": "3.12", "reproduced": None},
    ]
