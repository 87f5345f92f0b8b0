"""Batches: sizes, order, and that neither a thread nor a resume changes them."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.training import cpu
from worker.engine.batch import Batch
from worker.engine.dataloader import ArrayDataLoader, ArraySource, DeviceResidentDataLoader
from worker.engine.sampler import Sampler, SamplerConfig, balance_classes, batch_bounds
from worker.engine.transforms import Affine, HorizontalFlip, RandomApply, RandomCrop, Transform

TRANSFORMS: list[Transform] = [HorizontalFlip(), Affine(degrees=20), RandomCrop(1)]


def source(count: int = 50, index: np.ndarray | None = None) -> ArraySource:
    images = np.random.default_rng(0).integers(0, 256, (count, 6, 6, 1), dtype=np.uint8)
    return ArraySource(images, np.arange(count), np.arange(count) if index is None else index)


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
    found = batch_bounds(samples, size, drop_last=drop_last)
    assert [end - begin for begin, end in found] == sizes
    assert found[0][0] == 0


def test_an_epoch_has_every_sample_once_in_an_order_of_its_own() -> None:
    batches = ArrayDataLoader(source(index=np.arange(10, 50)), cpu(), 8, SamplerConfig(seed=1, sampler="random"))
    first = torch.cat([batch.targets for batch in batches.epoch(1)])
    second = torch.cat([batch.targets for batch in batches.epoch(2)])
    assert sorted(first.tolist()) == list(range(10, 50))
    assert not torch.equal(first, second)
    assert all_equal(list(batches.epoch(1)), list(batches.epoch(1)))


def test_images_stay_with_their_targets() -> None:
    origin = source()
    for batch in ArrayDataLoader(origin, cpu(), 7, SamplerConfig(sampler="random")).epoch(1):
        assert np.array_equal(batch.images.numpy(), origin.images[batch.targets.numpy()])


@pytest.mark.parametrize("start", [0, 1, 5, 6, 7])
@pytest.mark.parametrize("reads_ahead", [True, False])
def test_a_resumed_epoch_goes_on_with_the_very_same_batches(start: int, reads_ahead: bool) -> None:
    batches = ArrayDataLoader(
        source(), cpu(), 8, SamplerConfig(3, sampler="random", drop_last=True), TRANSFORMS, reads_ahead=reads_ahead
    )
    assert all_equal(list(batches.epoch(2))[start:], list(batches.epoch(2, start)))


def test_a_thread_changes_nothing() -> None:
    alone, ahead = (
        ArrayDataLoader(source(), cpu(), 4, SamplerConfig(3, sampler="random"), TRANSFORMS, reads_ahead=x)
        for x in (False, True)
    )
    assert all_equal(list(alone.epoch(1)), list(ahead.epoch(1)))


def test_augmentation_does_not_depend_on_the_batch_size() -> None:
    by_target = []
    for size in (4, 16):
        batches = ArrayDataLoader(source(), cpu(), size, SamplerConfig(3, sampler="random"), TRANSFORMS)
        by_target.append(
            {int(t): image for batch in batches.epoch(1) for image, t in zip(batch.images, batch.targets, strict=True)}
        )
    assert all(torch.equal(by_target[0][key], by_target[1][key]) for key in range(50))


def test_resident_batches_are_the_same_batches() -> None:
    order = SamplerConfig(3, sampler="random", drop_last=True)
    plain, resident = ArrayDataLoader(source(), cpu(), 8, order), DeviceResidentDataLoader(source(), cpu(), 8, order)
    assert all_equal(list(plain.epoch(4, 2)), list(resident.epoch(4, 2)))


@pytest.mark.parametrize("sampler", ["random", "weighted"])
def test_resident_images_are_changed_as_those_of_the_host(sampler: Sampler) -> None:
    order = SamplerConfig(3, sampler=sampler, drop_last=True)
    moving: list[Transform] = [HorizontalFlip(), RandomApply([RandomCrop(1)])]
    plain, resident = (kind(source(), cpu(), 8, order, moving) for kind in (ArrayDataLoader, DeviceResidentDataLoader))
    assert all_equal(list(plain.epoch(4)), list(resident.epoch(4)))
    assert not all_equal(list(resident.epoch(4)), list(DeviceResidentDataLoader(source(), cpu(), 8, order).epoch(4)))


@pytest.mark.parametrize("start", [0, 1, 5, 6])
def test_a_resumed_epoch_of_resident_images_goes_on_with_the_very_same_batches(start: int) -> None:
    order = SamplerConfig(3, sampler="random", drop_last=True, mix_alpha=0.5)
    whole = list(DeviceResidentDataLoader(source(), cpu(), 8, order, TRANSFORMS).epoch(2))
    resumed = list(DeviceResidentDataLoader(source(), cpu(), 8, order, TRANSFORMS).epoch(2, start))
    assert all_equal(whole[start:], resumed)
    mixed = [(batch.draws, again.draws) for batch, again in zip(whole[start:], resumed, strict=True)]
    assert all(a is not None and b is not None and torch.equal(a, b) for a, b in mixed)


def test_resident_images_are_changed_alike_by_any_number_of_ranks() -> None:
    order = SamplerConfig(3, sampler="random", drop_last=True)
    whole = DeviceResidentDataLoader(source(), cpu(), 8, order, TRANSFORMS)
    ranks = [whole.share(rank, 2).epoch(1) for rank in range(2)]
    for batch, *parts in zip(whole.epoch(1), *ranks, strict=True):
        assert torch.equal(batch.images, torch.cat([part.images for part in parts]))
        assert torch.equal(batch.targets, torch.cat([part.targets for part in parts]))


def test_augmentation_of_resident_images_does_not_depend_on_the_batch_size() -> None:
    by_target: list[dict[int, bytes]] = [{}, {}]
    for found, size in zip(by_target, (4, 16), strict=True):
        for batch in DeviceResidentDataLoader(
            source(), cpu(), size, SamplerConfig(3, sampler="random"), TRANSFORMS
        ).epoch(1):
            found |= {int(t): i.numpy().tobytes() for i, t in zip(batch.images, batch.targets, strict=True)}
    assert len(by_target[0]) == 50
    assert by_target[0] == by_target[1]


def test_resident_images_are_not_changed_by_what_works_on_the_host_alone() -> None:
    class OnTheHost:
        num_draws = 0

        def __call__(self, images: np.ndarray, draws: np.ndarray) -> np.ndarray:
            return images

    with pytest.raises(ValueError, match="works on the host alone"):
        DeviceResidentDataLoader(source(), cpu(), 8, transforms=[OnTheHost()])


def test_an_iterator_that_is_left_ends_its_thread() -> None:
    others = set(threading.enumerate())
    batches = ArrayDataLoader(source(120_000), cpu(), 256, transforms=TRANSFORMS, reads_ahead=True).epoch(1)
    next(batches)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "batches" and thread not in others]
    batches.close()  # type: ignore[attr-defined]  # it is a generator
    assert not thread.is_alive()


def test_an_error_in_the_thread_is_raised_where_batches_are_taken() -> None:
    class Broken:
        num_draws = 0

        def __call__(self, images: np.ndarray, draws: np.ndarray) -> np.ndarray:
            raise ZeroDivisionError("in the thread")

    with pytest.raises(ZeroDivisionError, match="in the thread"):
        list(ArrayDataLoader(source(), cpu(), 4, transforms=[Broken()], reads_ahead=True).epoch(1))


UNEVEN = np.array([0] * 70 + [1] * 25 + [2] * 5)


def evened(num_epochs: int = 1, **options: Any) -> Iterator[Batch]:
    origin = source(100)
    batches = ArrayDataLoader(
        ArraySource(origin.images, UNEVEN, origin.index), cpu(), 10, SamplerConfig(3, "weighted"), **options
    )
    for number in range(1, num_epochs + 1):
        yield from batches.epoch(number)


def test_a_weighted_sampler_evens_out_the_classes() -> None:
    seen = [batch.targets for batch in evened()]
    assert len(seen) == 10
    assert sorted(np.bincount(torch.cat(seen)).tolist()) == [33, 33, 34]
    assert len({tuple(targets.tolist()) for targets in seen}) == 10  # in an order of chance


def test_a_large_class_gives_samples_of_its_own_each_and_a_small_one_all_of_them() -> None:
    pictures = [
        (int(target), image.numpy().tobytes())
        for batch in evened()
        for image, target in zip(batch.images, batch.targets, strict=True)
    ]
    assert [len({image for target, image in pictures if target == label}) for label in (1, 2)] == [25, 5]
    of_large = [image for target, image in pictures if target == 0]
    assert len(set(of_large)) == len(of_large)


def test_an_image_that_comes_several_times_is_changed_each_time_otherwise() -> None:
    small = [
        image for b in evened(transforms=TRANSFORMS) for image, t in zip(b.images, b.targets, strict=True) if t == 2
    ]
    assert len({image.numpy().tobytes() for image in small}) > 25


def test_a_weighted_order_is_by_seed_and_epoch_alone() -> None:
    twice = [torch.cat([batch.targets for batch in evened(2)]) for _ in range(2)]
    assert torch.equal(*twice)
    assert not torch.equal(*twice[0].chunk(2))


@pytest.mark.parametrize("num_classes", [2, 7, 30])
def test_classes_are_evened_out_whatever_there_is(num_classes: int) -> None:
    random = np.random.default_rng(num_classes)
    labels = random.integers(0, num_classes, 20)
    found = balance_classes(labels, random)
    counts = np.bincount(labels[found], minlength=num_classes)[np.unique(labels)]
    assert len(found) == 20
    assert counts.max() - counts.min() <= 1
