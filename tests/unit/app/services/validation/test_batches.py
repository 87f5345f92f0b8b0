"""Rules for splits, batch sizes, the sampler and training with several processes."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.spec import JobSpec
from tests.support.validation import CONVNET, IMAGES, find_errors, resolve_training


def test_steps_per_epoch_count_accumulated_batches() -> None:
    assert resolve_training(batch_size=8, accumulate_batches=5).steps_per_epoch == 2
    assert find_errors(batch_size=8, accumulate_batches=20)[0][0] == "/batch_size"


def test_share_becomes_the_test_split_unless_there_is_one() -> None:
    resolved = resolve_training(dataset={"name": "digits", "valid": 0.2, "test": 0.2}, batch_size=10)
    assert (resolved.spec.dataset.valid, resolved.spec.dataset.test) == (0.2, 0.2)
    assert resolved.steps_per_epoch == 6
    has_test = IMAGES._replace(splits={"train": 100, "test": 9})
    assert [pointer for pointer, _ in find_errors(has_test, dataset={"name": "digits", "test": 0.2})] == [
        "/dataset/test"
    ]
    for wrong in (2, -1):
        with pytest.raises(ValidationError, match=f"{wrong}"):
            JobSpec.model_validate({"dataset": {"name": "digits", "test": wrong}, "architecture": CONVNET})


def test_weighted_sampler_requires_classes() -> None:
    resolve_training(sampler="weighted")
    for task in ("regression", "multilabel"):
        info = IMAGES._replace(task=task)
        assert [pointer for pointer, _ in find_errors(info, sampler="weighted")] == ["/sampler"]


def test_weighted_sampler_and_class_weights_give_a_warning() -> None:
    loss = {"name": "cross_entropy", "class_weights": "balanced"}
    (warning,) = resolve_training(sampler="weighted", loss=loss).warnings
    assert "both balance the classes" in warning


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"batch_size": 9}, "/batch_size"),
        ({"batch_size": 9, "accumulate_batches": 2}, "/batch_size"),
        ({"batch_size": 8, "drop_last": False, "dataset": {"name": "digits", "valid": 0.03}}, "/drop_last"),
        ({"optimizer": {"name": "lbfgs"}}, "/optimizer/name"),
        ({"on_oom": "accumulate"}, "/on_oom"),
        ({"callbacks": [{"name": "batch_size_finder"}]}, "/callbacks/0"),
        ({"device": "mps"}, "/device"),
    ],
)
def test_several_processes_must_share_batches_evenly(changes: dict[str, Any], pointer: str) -> None:
    assert pointer in [error for error, _ in find_errors(**changes, resources={"devices": 2})]
    if pointer != "/device":
        resolve_training(**changes)


def test_several_processes_train_together() -> None:
    resolve_training(batch_size=8, drop_last=False, resources={"devices": 2})
    balanced = {"name": "cross_entropy", "class_weights": "balanced"}
    assert resolve_training(loss=balanced, resources={"devices": 2}).warnings == ()


def test_batch_size_finder_has_one_error_with_several_processes() -> None:
    callbacks = [{"name": "batch_size_finder"}]
    resolve_training(callbacks=callbacks)
    errors = find_errors(callbacks=callbacks, resources={"devices": 2}, batch_size=32)
    assert [pointer for pointer, _ in errors] == ["/callbacks/0"]
