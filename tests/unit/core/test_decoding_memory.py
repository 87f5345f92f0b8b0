"""The memory budget of decoding."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.decoding_memory import LARGE_BYTES, DecodingMemory


@pytest.mark.parametrize(("num_bytes", "most"), [(LARGE_BYTES, 4), (2 * LARGE_BYTES, 2), (9 * LARGE_BYTES, 1)])
def test_large_images_share_the_budget(num_bytes: int, most: int) -> None:
    memory, lock = DecodingMemory(4 * LARGE_BYTES), threading.Lock()
    running = highest = 0
    full = threading.Barrier(most)

    def decode(_: int) -> None:
        nonlocal running, highest
        with memory.reserve(num_bytes):
            with lock:
                running += 1
                highest = max(highest, running)
            full.wait(timeout=30)  # as many threads as the budget allows are here at the same time
            with lock:
                running -= 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(decode, range(8)))
    assert highest == most


def test_small_images_are_not_counted() -> None:
    memory = DecodingMemory(1)
    with memory.reserve(LARGE_BYTES), memory.reserve(LARGE_BYTES - 1), memory.reserve(0):
        pass


def test_memory_is_free_after_an_error() -> None:
    memory = DecodingMemory(1)
    with pytest.raises(ValueError, match="damaged"), memory.reserve(LARGE_BYTES):
        raise ValueError("damaged")
    with memory.reserve(LARGE_BYTES):
        pass
