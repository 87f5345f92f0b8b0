"""Messages arrive as they were sent, however the stream is cut, and memory is given out once at a time."""

import itertools
import os

import numpy as np
import pytest

from app.inference.protocol import (
    Check,
    Computed,
    Frames,
    Leave,
    Predict,
    Scored,
    answer_of,
    error_of,
    packed,
    question_of,
    refusal,
)
from app.inference.shared_memory import SMALLEST, Arena, ArenaFull, opened
from core.errors import Corrupt, Overloaded, ServiceError

QUESTIONS = [
    Predict(1, 2, 4096, 3, 0.5, None),
    Predict(1, 2, 4096, 3, 0.5, 1.5, 3),
    Leave(1),
    Check(2, "mlp", b'{"hidden": [3]}', (1, 8, 8), 3, ()),
]


@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
def test_a_stream_is_cut_into_its_messages(size: int) -> None:
    stream, frames = b"".join(map(packed, QUESTIONS)), Frames()
    found = [frame for at in range(0, len(stream), size) for frame in frames.feed(stream[at : at + size])]
    assert [question_of(frame) for frame in found] == QUESTIONS


def test_a_stream_of_something_else_is_not_read_on() -> None:
    with pytest.raises(ValueError, match="bytes"):
        list(Frames().feed(b"GET / HTTP/1.1\r\n"))


def test_answers_keep_their_bytes_and_errors_their_kind() -> None:
    scores = np.arange(3, dtype=np.float32)
    computed = Computed(1, 2, 1, 0, 0.25, [Scored(7, scores.tobytes(), [(1, "no", "ValueError")], 0.5)])
    (frame,) = Frames().feed(packed(computed))
    assert answer_of(frame) == computed
    for error in (Overloaded("later", retry_after_s=3), Corrupt("damaged"), ServiceError("odd")):
        again = error_of(refusal(1, error))
        assert (type(again), again.detail, again.facts) == (type(error), error.detail, error.facts)


def test_places_do_not_overlap_and_are_used_again() -> None:
    arena = Arena(8 * SMALLEST)
    places = [arena.take(size) for size in (1, SMALLEST, SMALLEST + 1, 3 * SMALLEST)]
    spans = sorted((place.offset, place.offset + place.num_bytes) for place in places)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    with pytest.raises(ArenaFull):
        arena.take(1)
    arena.give_back(places[3])
    assert arena.take(2 * SMALLEST + 1) == places[3]
    arena.give_back(places[3])
    assert arena.take(1).offset == places[3].offset
    arena.close()


def test_what_is_written_on_one_side_is_read_on_the_other() -> None:
    arena = Arena(SMALLEST)
    other = opened(os.dup(arena.fd))
    arena.memory[:3] = (1, 2, 3)
    assert other[:3].tolist() == [1, 2, 3]
    arena.close()
    assert other[2] == 3
