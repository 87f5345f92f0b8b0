"""Batches: sizes, order, and that neither a thread nor a resume changes them."""

import threading

import numpy as np
import pytest
import torch

from tests.support.training import cpu
from worker.engine.batches import ArrayBatches, Order, ResidentBatches, Source, bounds
from worker.engine.steps import Batch
from worker.engine.transforms import Affine, HorizontalFlip, RandomCrop, Transform

TRANSFORMS: list[Transform] = [HorizontalFlip(), Affine(degrees=20), RandomCrop(1)]


def source(count: int = 50, index: np.ndarray | None = None) -> Source:
    images = np.random.default_rng(0).integers(0, 256, (count, 6, 6, 1), dtype=np.uint8)
    return Source(images, np.arange(count), np.arange(count) if index is None else index)


def all_equal(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize(
    ("samples", "size", "drop_last", "sizes"),
    [
        (10, 4, True, [4, 4]),
        (10, 4, False, [4, 4, 2]),
        (8, 4, True, [4, 4]),
        (3, 4, True, [3]),
        (9, 4, False, [4, 5]),
        (9, 4, True, [4, 4]),
        (1, 4, False, [1]),
        (3, 1, False, [1, 1, 1]),
    ],
)
def test_sizes_of_batches(samples: int, size: int, drop_last: bool, sizes: list[int]) -> None:
    found = bounds(samples, size, drop_last=drop_last)
    assert [end - begin for begin, end in found] == sizes
    assert found[0][0] == 0


def test_an_epoch_has_every_sample_once_in_an_order_of_its_own() -> None:
    batches = ArrayBatches(source(index=np.arange(10, 50)), cpu(), 8, Order(seed=1, shuffle=True))
    first = torch.cat([batch.targets for batch in batches.epoch(1)])
    second = torch.cat([batch.targets for batch in batches.epoch(2)])
    assert sorted(first.tolist()) == list(range(10, 50))
    assert not torch.equal(first, second)
    assert all_equal(list(batches.epoch(1)), list(batches.epoch(1)))


def test_pictures_stay_with_their_targets() -> None:
    origin = source()
    for batch in ArrayBatches(origin, cpu(), 7, Order(shuffle=True)).epoch(1):
        assert np.array_equal(batch.images.numpy(), origin.images[batch.targets.numpy()])


@pytest.mark.parametrize("start", [0, 1, 5, 6, 7])
@pytest.mark.parametrize("reads_ahead", [True, False])
def test_a_resumed_epoch_goes_on_with_the_very_same_batches(start: int, reads_ahead: bool) -> None:
    batches = ArrayBatches(
        source(), cpu(), 8, Order(3, shuffle=True, drop_last=True), TRANSFORMS, reads_ahead=reads_ahead
    )
    assert all_equal(list(batches.epoch(2))[start:], list(batches.epoch(2, start)))


def test_a_thread_changes_nothing() -> None:
    alone, ahead = (
        ArrayBatches(source(), cpu(), 4, Order(3, shuffle=True), TRANSFORMS, reads_ahead=x) for x in (False, True)
    )
    assert all_equal(list(alone.epoch(1)), list(ahead.epoch(1)))


def test_augmentation_does_not_depend_on_the_batch_size() -> None:
    by_target = []
    for size in (4, 16):
        batches = ArrayBatches(source(), cpu(), size, Order(3, shuffle=True), TRANSFORMS)
        by_target.append(
            {int(t): image for batch in batches.epoch(1) for image, t in zip(batch.images, batch.targets, strict=True)}
        )
    assert all(torch.equal(by_target[0][key], by_target[1][key]) for key in range(50))


def test_resident_batches_are_the_same_batches() -> None:
    order = Order(3, shuffle=True, drop_last=True)
    plain, resident = ArrayBatches(source(), cpu(), 8, order), ResidentBatches(source(), cpu(), 8, order)
    assert all_equal(list(plain.epoch(4, 2)), list(resident.epoch(4, 2)))


def test_an_iterator_that_is_left_ends_its_thread() -> None:
    batches = ArrayBatches(source(120_000), cpu(), 256, transforms=TRANSFORMS, reads_ahead=True).epoch(1)
    next(batches)
    assert any(thread.name == "batches" for thread in threading.enumerate())
    batches.close()  # type: ignore[attr-defined]  # it is a generator
    assert not any(thread.name == "batches" for thread in threading.enumerate())


def test_an_error_in_the_thread_is_raised_where_batches_are_taken() -> None:
    class Broken:
        num_draws = 0

        def __call__(self, images: np.ndarray, draws: np.ndarray) -> np.ndarray:
            raise ZeroDivisionError("in the thread")

    with pytest.raises(ZeroDivisionError, match="in the thread"):
        list(ArrayBatches(source(), cpu(), 4, transforms=[Broken()], reads_ahead=True).epoch(1))
