"""Encoding and decoding of the messages between the API and the inference process."""

import numpy as np
import pytest

from app.inference.protocol import (
    BatchResult,
    Cancel,
    FrameDecoder,
    Load,
    Predict,
    PredictResult,
    ValidateArchitecture,
    decode_client_message,
    decode_server_message,
    encode,
    from_error_message,
    to_error_message,
)
from core.errors import CorruptFile, Overloaded, ServiceError

REQUESTS = [
    Predict(1, 2, 4096, 3, 0.5, None),
    Predict(1, 2, 4096, 3, 0.5, 1.5, 3),
    Predict(1, 2, 4096, 2, 0.5, None, 2, (4, -1)),
    Load(3, "jobs/1/bundle", "attention", "/folder", "m", 8, 64),
    Cancel(1),
    ValidateArchitecture(2, "mlp", b'{"hidden": [3]}', (1, 8, 8), 3, ()),
]


@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
def test_a_stream_is_split_into_its_messages(size: int) -> None:
    stream, frames = b"".join(map(encode, REQUESTS)), FrameDecoder()
    received = [frame for start in range(0, len(stream), size) for frame in frames.feed(stream[start : start + size])]
    assert [decode_client_message(frame) for frame in received] == REQUESTS


def test_a_stream_without_messages_is_an_error() -> None:
    with pytest.raises(ValueError, match="bytes"):
        list(FrameDecoder().feed(b"GET / HTTP/1.1\r\n"))


def test_responses_keep_their_scores_and_errors_their_class() -> None:
    scores = np.arange(3, dtype=np.float32)
    result = BatchResult(1, 2, 1, 0, 0.25, [PredictResult(7, scores.tobytes(), [(1, "no", "ValueError")], 0.5)])
    (frame,) = FrameDecoder().feed(encode(result))
    assert decode_server_message(frame) == result
    for error in (Overloaded("later", retry_after_s=3), CorruptFile("damaged"), ServiceError("odd")):
        decoded = from_error_message(to_error_message(1, error))
        assert (type(decoded), decoded.detail, decoded.extra) == (type(error), error.detail, error.extra)
