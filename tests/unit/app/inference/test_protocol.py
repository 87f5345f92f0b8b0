"""Messages arrive as they were sent, however the stream is cut, and memory is given out once at a time."""

import itertools
import os

import numpy as np
import pytest

from app.inference.protocol import (
    BatchResult,
    Cancel,
    FrameDecoder,
    Predict,
    PredictResult,
    ValidateArchitecture,
    decode_request,
    decode_response,
    encode,
    from_error,
    to_error,
)
from app.inference.shared_memory import SMALLEST, SharedMemoryFull, SharedMemoryPool, attach
from core.errors import CorruptFile, Overloaded, ServiceError

QUESTIONS = [
    Predict(1, 2, 4096, 3, 0.5, None),
    Predict(1, 2, 4096, 3, 0.5, 1.5, 3),
    Cancel(1),
    ValidateArchitecture(2, "mlp", b'{"hidden": [3]}', (1, 8, 8), 3, ()),
]


@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
def test_a_stream_is_cut_into_its_messages(size: int) -> None:
    stream, frames = b"".join(map(encode, QUESTIONS)), FrameDecoder()
    found = [frame for at in range(0, len(stream), size) for frame in frames.feed(stream[at : at + size])]
    assert [decode_request(frame) for frame in found] == QUESTIONS


def test_a_stream_of_something_else_is_not_read_on() -> None:
    with pytest.raises(ValueError, match="bytes"):
        list(FrameDecoder().feed(b"GET / HTTP/1.1\r\n"))


def test_answers_keep_their_bytes_and_errors_their_kind() -> None:
    scores = np.arange(3, dtype=np.float32)
    computed = BatchResult(1, 2, 1, 0, 0.25, [PredictResult(7, scores.tobytes(), [(1, "no", "ValueError")], 0.5)])
    (frame,) = FrameDecoder().feed(encode(computed))
    assert decode_response(frame) == computed
    for error in (Overloaded("later", retry_after_s=3), CorruptFile("damaged"), ServiceError("odd")):
        again = from_error(to_error(1, error))
        assert (type(again), again.detail, again.facts) == (type(error), error.detail, error.facts)


def test_places_do_not_overlap_and_are_used_again() -> None:
    arena = SharedMemoryPool(8 * SMALLEST)
    places = [arena.allocate(size) for size in (1, SMALLEST, SMALLEST + 1, 3 * SMALLEST)]
    spans = sorted((place.offset, place.offset + place.num_bytes) for place in places)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    with pytest.raises(SharedMemoryFull):
        arena.allocate(1)
    arena.free(places[3])
    assert arena.allocate(2 * SMALLEST + 1) == places[3]
    arena.free(places[3])
    assert arena.allocate(1).offset == places[3].offset
    arena.close()


def test_what_is_written_on_one_side_is_read_on_the_other() -> None:
    arena = SharedMemoryPool(SMALLEST)
    other = attach(os.dup(arena.fd))
    arena.memory[:3] = (1, 2, 3)
    assert other[:3].tolist() == [1, 2, 3]
    arena.close()
    assert other[2] == 3
