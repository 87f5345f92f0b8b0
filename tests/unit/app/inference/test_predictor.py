"""The number of threads that compute a network, and how instances share them."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from app.inference import predictor as module
from app.inference.predictor import Predictor
from tests.support import bundles

IMPOSSIBLE_S, EASY_S = 1e-12, 1e6  # target latencies


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Record the numbers of threads that torch is set to, on a machine with four processors."""
    before, counts = torch.get_num_threads(), list[int]()
    set_threads = torch.set_num_threads
    monkeypatch.setattr(module, "NUM_CPU_THREADS", 4)
    monkeypatch.setattr(module, "_thread_state", threading.local())

    def record(count: int) -> None:
        counts.append(count)
        set_threads(count)

    monkeypatch.setattr(torch, "set_num_threads", record)
    yield counts
    set_threads(before)


@pytest.fixture
def predictor() -> Predictor:
    description = bundles.build_description()
    return Predictor(bundles.build_network(description), description)


def test_a_fast_network_uses_one_thread(predictor: Predictor, threads: list[int]) -> None:
    predictor.choose_threads(8, EASY_S)
    predictor([np.zeros((8, 8, 1), np.uint8)])
    assert threads == [1]


def test_a_slow_network_uses_every_thread(predictor: Predictor, threads: list[int]) -> None:
    predictor.choose_threads(8, IMPOSSIBLE_S)
    predictor([np.zeros((8, 8, 1), np.uint8)])
    assert threads == [1, 4]


def test_a_network_uses_as_many_threads_as_it_needs(
    predictor: Predictor, threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "_measure_cpu_s", lambda images: 0.01 * len(images))
    predictor.choose_threads(8, 0.004)
    predictor([np.zeros((8, 8, 1), np.uint8)])
    assert threads == [3]


def test_instances_share_the_threads_of_a_slow_network(predictor: Predictor, threads: list[int]) -> None:
    predictor.choose_threads(8, EASY_S)
    assert predictor.num_instances == 1
    predictor.choose_threads(8, IMPOSSIBLE_S)
    assert predictor.num_instances == 4
    threads.clear()
    for num_sharing in (1, 2, 4, 3, 1):
        predictor.set_num_sharing(num_sharing)
        predictor([np.zeros((8, 8, 1), np.uint8)])
    assert threads == [4, 2, 1, 4]


def test_scores_do_not_depend_on_the_number_of_threads(predictor: Predictor) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), dtype=np.uint8))
    predictor.choose_threads(8, EASY_S)
    alone = predictor(images)
    predictor.choose_threads(8, IMPOSSIBLE_S)
    np.testing.assert_allclose(predictor(images), alone, atol=1e-5)
