"""Rules for splits, batch sizes, the sampler and training with several processes."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.services.validation.context import PinnedDataset, ValidationContext
from app.services.validation.training import TrainingContext
from core.spec import JobSpec
from tests.support.validation import CONVNET, IMAGES, find_errors, resolve_training
from worker.engine.batch import Batch
from worker.engine.sampler import batch_bounds


def test_steps_per_epoch_count_accumulated_batches() -> None:
    assert resolve_training(batch_size=8, accumulate_batches=5).steps_per_epoch == 2
    assert find_errors(batch_size=8, accumulate_batches=20)[0][0] == "/batch_size"


def test_share_becomes_the_test_split_unless_there_is_one() -> None:
    resolved = resolve_training(dataset={"name": "digits", "valid": 0.2, "test": 0.2}, batch_size=10)
    assert resolved.spec.dataset is not None
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


# The convnet of these tests has a batch norm after the flattened features, which gets one value from each sample.
ALL_NORMS_FROZEN = {"freeze": ["head.2.*"]}


def images(num_train: int) -> Any:
    """Return the properties of a dataset with this many training images."""
    return IMAGES._replace(splits={"train": num_train, "valid": 20})


@pytest.mark.parametrize(
    ("num_train", "changes"),
    [
        (100, {"batch_size": 1}),
        (100, {"batch_size": 1, "accumulate_batches": 8}),
        (100, {"batch_size": 1, "callbacks": [{"name": "batch_size_finder"}]}),
        (100, {"batch_size": 1, "on_oom": "accumulate"}),
        (100, {"batch_size": 4, "resources": {"devices": 4}}),
        (100, {"batch_size": 4, "accumulate_batches": 5, "resources": {"devices": 4}}),
        (102, {"batch_size": 4, "drop_last": False, "resources": {"devices": 2}}),  # the last batch has 2 samples
        (103, {"batch_size": 2, "accumulate_batches": 2, "drop_last": False}),  # the last 3 samples are 2 and 1
        (101, {"batch_size": 2, "accumulate_batches": 2, "drop_last": False}),  # 5 samples are 2, 2 and 1
        (1, {"batch_size": 8, "drop_last": False}),
        (100, {"batch_size": 1, "kind": "lr_find"}),
        (100, {"batch_size": 1, "freeze": ["head.2.*"], "freeze_bn_stats": False}),
        (100, {"batch_size": 1, "freeze": ["head.2.weight"]}),
        (100, {"batch_size": 1, "callbacks": [{"name": "freeze", "match": "head.2.*", "from_epoch": 2}]}),
        (100, {"batch_size": 1, "epochs": 4, "callbacks": [{"name": "freeze", "match": "head.2.*", "until_epoch": 3}]}),
        (100, {"batch_size": 1, "callbacks": [{"name": "swa"}], **ALL_NORMS_FROZEN}),
        (100, {"batch_size": 1, "architecture": {"name": "mlp", "hidden": [8], "batch_norm": True}}),
    ],
)
def test_batch_norm_requires_two_samples_per_forward_pass(num_train: int, changes: dict[str, Any]) -> None:
    errors = find_errors(images(num_train), **changes)
    assert [pointer for pointer, _ in errors] == ["/batch_size"]
    assert "requires at least 2" in errors[0][1]


@pytest.mark.parametrize(
    ("num_train", "changes"),
    [
        (100, {"batch_size": 2}),
        (101, {"batch_size": 10, "drop_last": False}),  # the last sample joins the batch before it
        (103, {"batch_size": 2, "accumulate_batches": 2}),
        (103, {"batch_size": 3, "accumulate_batches": 2, "drop_last": False}),
        (100, {"batch_size": 1, "architecture": CONVNET | {"batch_norm": False}}),
        (100, {"batch_size": 1, "architecture": CONVNET | {"head": []}}),  # the other batch norm sees many pixels
        (100, {"batch_size": 1, **ALL_NORMS_FROZEN}),
        (100, {"batch_size": 1, "callbacks": [{"name": "freeze", "match": "head.2.*"}]}),
        (100, {"batch_size": 8, "resources": {"devices": 4}}),
    ],
)
def test_batch_norm_trains_on_larger_or_frozen_batches(num_train: int, changes: dict[str, Any]) -> None:
    resolve_training(images(num_train), **changes)


def list_forward_sizes(num_train: int, batch_size: int, accumulate: int, devices: int, *, drop_last: bool) -> list[int]:
    """Return the sizes of the forward passes that the engine computes in an epoch."""
    sizes = []
    for start, end in batch_bounds(num_train, batch_size * accumulate, drop_last=drop_last):
        batch = Batch(*[torch.zeros((end - start) // devices, 1)] * 2)
        parts = [batch] if accumulate == 1 else batch.split(max(1, batch_size // devices))
        sizes += [len(part.targets) for part in parts]
    return sizes


@given(
    num_train=st.integers(1, 60),
    per_device=st.integers(1, 5),
    accumulate=st.integers(1, 4),
    devices=st.sampled_from([1, 1, 2, 3]),
    drop_last=st.booleans(),
)
def test_the_smallest_forward_pass_is_that_of_the_engine(
    num_train: int, per_device: int, accumulate: int, devices: int, drop_last: bool
) -> None:
    spec = JobSpec.model_validate(
        {
            "dataset": {"name": "digits"},
            "architecture": CONVNET,
            "batch_size": per_device * devices,
            "accumulate_batches": accumulate,
            "drop_last": drop_last,
            "resources": {"devices": devices},
        }
    )
    dataset = PinnedDataset(1, {}, images(num_train))
    context = TrainingContext(ValidationContext(spec, dataset, frozenset()), spec)
    bounds = batch_bounds(num_train, spec.batch_size * accumulate, drop_last=drop_last)
    if context.num_batches and not any((end - start) % devices for start, end in bounds):
        sizes = list_forward_sizes(num_train, spec.batch_size, accumulate, devices, drop_last=drop_last)
        assert context.min_forward_size == min(sizes)
