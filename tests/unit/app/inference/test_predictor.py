"""How many threads a network computes with: as few as keep up with those who ask; and who shares them."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from app.inference import predictor as module
from app.inference.predictor import Predictor
from tests.support import bundles

NEVER, AT_ONCE = 1e-12, 1e6  # seconds a picture


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Those that torch is told to use, on a machine of four processors."""
    before, told = torch.get_num_threads(), list[int]()
    set_threads = torch.set_num_threads
    monkeypatch.setattr(module, "ALL_THREADS", 4)
    monkeypatch.setattr(module, "_of_thread", threading.local())

    def heard(count: int) -> None:
        told.append(count)
        set_threads(count)

    monkeypatch.setattr(torch, "set_num_threads", heard)
    yield told
    set_threads(before)


@pytest.fixture
def predictor() -> Predictor:
    words = bundles.description()
    return Predictor(bundles.network(words), words)


def test_a_quick_network_leaves_the_other_processors_to_those_who_read_requests(
    predictor: Predictor, threads: list[int]
) -> None:
    predictor.choose_threads(8, AT_ONCE)
    predictor([np.zeros((8, 8, 1), np.uint8)])
    assert threads == [1]


def test_a_slow_network_has_all_processors(predictor: Predictor, threads: list[int]) -> None:
    predictor.choose_threads(8, NEVER)
    predictor([np.zeros((8, 8, 1), np.uint8)])
    assert threads == [1, 4]


def test_one_between_has_as_many_as_it_needs(
    predictor: Predictor, threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "_computed", lambda pictures: 0.01 * len(pictures))
    predictor.choose_threads(8, 0.004)
    predictor([np.zeros((8, 8, 1), np.uint8)])
    assert threads == [3]


def test_only_a_network_that_is_worth_all_processors_has_lanes_and_they_share_them(
    predictor: Predictor, threads: list[int]
) -> None:
    predictor.choose_threads(8, AT_ONCE)
    assert predictor.num_lanes == 1
    predictor.choose_threads(8, NEVER)
    assert predictor.num_lanes == 4
    threads.clear()
    for num_sharing in (1, 2, 4, 3, 1):
        predictor.share(num_sharing)
        predictor([np.zeros((8, 8, 1), np.uint8)])
    assert threads == [4, 2, 1, 4]


def test_scores_hardly_depend_on_it(predictor: Predictor) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), dtype=np.uint8))
    predictor.choose_threads(8, AT_ONCE)
    alone = predictor(images)
    predictor.choose_threads(8, NEVER)
    np.testing.assert_allclose(predictor(images), alone, atol=1e-5)
