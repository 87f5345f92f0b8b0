"""Tests of batches: sizes, order, threads and resume."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.training import cpu_placement
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
def test_batch_sizes(samples: int, size: int, drop_last: bool, sizes: list[int]) -> None:
    found = batch_bounds(samples, size, drop_last=drop_last)
    assert [end - start for start, end in found] == sizes
    assert found[0][0] == 0


def test_epoch_has_every_sample_once_in_a_new_order() -> None:
    batches = ArrayDataLoader(
        source(index=np.arange(10, 50)), cpu_placement(), 8, SamplerConfig(seed=1, sampler="random")
    )
    first = torch.cat([batch.targets for batch in batches.iter_epoch(1)])
    second = torch.cat([batch.targets for batch in batches.iter_epoch(2)])
    assert sorted(first.tolist()) == list(range(10, 50))
    assert not torch.equal(first, second)
    assert all_equal(list(batches.iter_epoch(1)), list(batches.iter_epoch(1)))


def test_images_stay_with_their_targets() -> None:
    origin = source()
    for batch in ArrayDataLoader(origin, cpu_placement(), 7, SamplerConfig(sampler="random")).iter_epoch(1):
        assert np.array_equal(batch.images.numpy(), origin.images[batch.targets.numpy()])


@pytest.mark.parametrize("start", [0, 1, 5, 6, 7])
@pytest.mark.parametrize("reads_ahead", [True, False])
def test_resumed_epoch_continues_with_identical_batches(start: int, reads_ahead: bool) -> None:
    batches = ArrayDataLoader(
        source(),
        cpu_placement(),
        8,
        SamplerConfig(3, sampler="random", drop_last=True),
        TRANSFORMS,
        prefetch=reads_ahead,
    )
    assert all_equal(list(batches.iter_epoch(2))[start:], list(batches.iter_epoch(2, start)))


def test_prefetch_thread_changes_nothing() -> None:
    alone, ahead = (
        ArrayDataLoader(source(), cpu_placement(), 4, SamplerConfig(3, sampler="random"), TRANSFORMS, prefetch=x)
        for x in (False, True)
    )
    assert all_equal(list(alone.iter_epoch(1)), list(ahead.iter_epoch(1)))


def test_augmentation_does_not_depend_on_the_batch_size() -> None:
    by_target = []
    for size in (4, 16):
        batches = ArrayDataLoader(source(), cpu_placement(), size, SamplerConfig(3, sampler="random"), TRANSFORMS)
        by_target.append(
            {
                int(t): image
                for batch in batches.iter_epoch(1)
                for image, t in zip(batch.images, batch.targets, strict=True)
            }
        )
    assert all(torch.equal(by_target[0][key], by_target[1][key]) for key in range(50))


def test_resident_batches_match_host_batches() -> None:
    order = SamplerConfig(3, sampler="random", drop_last=True)
    plain, resident = (
        ArrayDataLoader(source(), cpu_placement(), 8, order),
        DeviceResidentDataLoader(source(), cpu_placement(), 8, order),
    )
    assert all_equal(list(plain.iter_epoch(4, 2)), list(resident.iter_epoch(4, 2)))


@pytest.mark.parametrize("sampler", ["random", "weighted"])
def test_resident_images_are_augmented_as_on_the_host(sampler: Sampler) -> None:
    order = SamplerConfig(3, sampler=sampler, drop_last=True)
    moving: list[Transform] = [HorizontalFlip(), RandomApply([RandomCrop(1)])]
    plain, resident = (
        kind(source(), cpu_placement(), 8, order, moving) for kind in (ArrayDataLoader, DeviceResidentDataLoader)
    )
    assert all_equal(list(plain.iter_epoch(4)), list(resident.iter_epoch(4)))
    assert not all_equal(
        list(resident.iter_epoch(4)), list(DeviceResidentDataLoader(source(), cpu_placement(), 8, order).iter_epoch(4))
    )


@pytest.mark.parametrize("start", [0, 1, 5, 6])
def test_resumed_resident_epoch_continues_with_identical_batches(start: int) -> None:
    order = SamplerConfig(3, sampler="random", drop_last=True, mix_alpha=0.5)
    whole = list(DeviceResidentDataLoader(source(), cpu_placement(), 8, order, TRANSFORMS).iter_epoch(2))
    resumed = list(DeviceResidentDataLoader(source(), cpu_placement(), 8, order, TRANSFORMS).iter_epoch(2, start))
    assert all_equal(whole[start:], resumed)
    mixed = [(batch.mix_params, again.mix_params) for batch, again in zip(whole[start:], resumed, strict=True)]
    assert all(a is not None and b is not None and torch.equal(a, b) for a, b in mixed)


def test_resident_augmentation_does_not_depend_on_the_number_ranks() -> None:
    order = SamplerConfig(3, sampler="random", drop_last=True)
    whole = DeviceResidentDataLoader(source(), cpu_placement(), 8, order, TRANSFORMS)
    ranks = [whole.shard(rank, 2).iter_epoch(1) for rank in range(2)]
    for batch, *parts in zip(whole.iter_epoch(1), *ranks, strict=True):
        assert torch.equal(batch.images, torch.cat([part.images for part in parts]))
        assert torch.equal(batch.targets, torch.cat([part.targets for part in parts]))


def test_resident_augmentation_does_not_depend_on_the_batch_size() -> None:
    by_target: list[dict[int, bytes]] = [{}, {}]
    for found, size in zip(by_target, (4, 16), strict=True):
        for batch in DeviceResidentDataLoader(
            source(), cpu_placement(), size, SamplerConfig(3, sampler="random"), TRANSFORMS
        ).iter_epoch(1):
            found |= {int(t): i.numpy().tobytes() for i, t in zip(batch.images, batch.targets, strict=True)}
    assert len(by_target[0]) == 50
    assert by_target[0] == by_target[1]


def test_resident_loader_rejects_host_only_transforms() -> None:
    class OnTheHost:
        num_random_params = 0

        def __call__(self, images: np.ndarray, random_params: np.ndarray) -> np.ndarray:
            return images

    with pytest.raises(ValueError, match="requires transforms that can run on a device"):
        DeviceResidentDataLoader(source(), cpu_placement(), 8, transforms=[OnTheHost()])


def test_closing_the_iterator_ends_its_thread() -> None:
    others = set(threading.enumerate())
    batches = ArrayDataLoader(source(120_000), cpu_placement(), 256, transforms=TRANSFORMS, prefetch=True).iter_epoch(1)
    next(batches)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "batches" and thread not in others]
    batches.close()  # type: ignore[attr-defined]  # the iterator is a generator
    assert not thread.is_alive()


def test_error_in_the_thread_is_raised_in_the_consumer() -> None:
    class Broken:
        num_random_params = 0

        def __call__(self, images: np.ndarray, random_params: np.ndarray) -> np.ndarray:
            raise ZeroDivisionError("in the thread")

    with pytest.raises(ZeroDivisionError, match="in the thread"):
        list(ArrayDataLoader(source(), cpu_placement(), 4, transforms=[Broken()], prefetch=True).iter_epoch(1))


UNEVEN = np.array([0] * 70 + [1] * 25 + [2] * 5)


def balance(num_epochs: int = 1, **options: Any) -> Iterator[Batch]:
    origin = source(100)
    batches = ArrayDataLoader(
        ArraySource(origin.images, UNEVEN, origin.index), cpu_placement(), 10, SamplerConfig(3, "weighted"), **options
    )
    for number in range(1, num_epochs + 1):
        yield from batches.iter_epoch(number)


def test_weighted_sampler_balances_the_classes() -> None:
    seen = [batch.targets for batch in balance()]
    assert len(seen) == 10
    assert sorted(np.bincount(torch.cat(seen)).tolist()) == [33, 33, 34]
    assert len({tuple(targets.tolist()) for targets in seen}) == 10  # in random order


def test_large_class_is_subsampled_and_small_class_repeats() -> None:
    images = [
        (int(target), image.numpy().tobytes())
        for batch in balance()
        for image, target in zip(batch.images, batch.targets, strict=True)
    ]
    assert [len({image for target, image in images if target == label}) for label in (1, 2)] == [25, 5]
    of_large = [image for target, image in images if target == 0]
    assert len(set(of_large)) == len(of_large)


def test_repeating_image_gets_different_augmentations() -> None:
    small = [
        image for b in balance(transforms=TRANSFORMS) for image, t in zip(b.images, b.targets, strict=True) if t == 2
    ]
    assert len({image.numpy().tobytes() for image in small}) > 25


def test_weighted_order_depends_on_seed_and_epoch_only() -> None:
    twice = [torch.cat([batch.targets for batch in balance(2)]) for _ in range(2)]
    assert torch.equal(*twice)
    assert not torch.equal(*twice[0].chunk(2))


@pytest.mark.parametrize("num_classes", [2, 7, 30])
def test_balance_classes_for_any_class_counts(num_classes: int) -> None:
    random = np.random.default_rng(num_classes)
    labels = random.integers(0, num_classes, 20)
    found = balance_classes(labels, random)
    counts = np.bincount(labels[found], minlength=num_classes)[np.unique(labels)]
    assert len(found) == 20
    assert counts.max() - counts.min() <= 1
