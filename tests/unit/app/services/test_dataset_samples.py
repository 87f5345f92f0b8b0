"""Splits stay open, and their files are verified once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.services.dataset_samples import MAX_OPEN_SPLITS, SplitCache
from core.datasets.packed import PackedDataset, PackedSplit
from tests.support.datasets import write_packed


@pytest.fixture
def split(tmp_path: Path) -> PackedSplit:
    write_packed(tmp_path / "packed")
    return PackedDataset.open(tmp_path / "packed").read_split("train")


def test_threads_that_need_a_split_open_it_once(split: PackedSplit) -> None:
    cache, barrier, calls = SplitCache(), threading.Barrier(4), list[int]()

    def load() -> PackedSplit:
        calls.append(1)
        return split

    def get(_: int) -> PackedSplit:
        barrier.wait()
        return cache.get_split(("key", "train"), load)

    with ThreadPoolExecutor(4) as pool:
        assert all(found is split for found in pool.map(get, range(4)))
    assert len(calls) == 1


def test_the_number_of_open_splits_is_limited(split: PackedSplit) -> None:
    cache, loads = SplitCache(), list[int]()

    def get(number: int) -> None:
        def load() -> PackedSplit:
            loads.append(number)
            return split

        cache.get_split((str(number), "train"), load)

    for number in range(MAX_OPEN_SPLITS):
        get(number)
    get(0)
    get(MAX_OPEN_SPLITS)  # closes the least recently used split, 1
    get(0)
    get(1)
    assert loads == [*range(MAX_OPEN_SPLITS + 1), 1]


def test_a_split_that_could_not_be_opened_is_opened_again(split: PackedSplit) -> None:
    cache = SplitCache()

    def fail() -> PackedSplit:
        raise OSError("unavailable")

    with pytest.raises(OSError, match="unavailable"):
        cache.get_split(("key", "train"), fail)
    assert cache.get_split(("key", "train"), lambda: split) is split
