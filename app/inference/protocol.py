"""What is said between those who have pictures and the process with the networks: one message a kind, MessagePack.

Each is preceded by its length, 4 bytes, little-endian. Pixels are never in a message: they lie in memory that both
see, and a message says where. A question with an `id` gets exactly one answer with it, whatever happens.
"""

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from app.inference.types import DEFAULT_LEVEL
from core import errors
from core.errors import ServiceError

MAX_MESSAGE_BYTES = 64 * 2**20
TARGET_LATENCY_S = 0.00025
"""About what an answer costs the process that reads requests."""
_LENGTH = struct.Struct("<I")


class Message(msgspec.Struct, tag=True, array_like=True, gc=False):
    """The base of every message."""


# ---- questions


class Load(Message):
    """Have the bundle in a folder in memory and warm. Several who load the same `key` share one network.

    A network that takes no longer than `enough_s` for a picture is quick enough: whoever asks cannot ask more quickly.
    """

    id: int
    key: str
    folder: str
    model: str
    max_batch_size: int
    max_waiting: int
    precision: str = "fp32"
    enough_s: float = TARGET_LATENCY_S


class Unload(Message):
    """Let a network go as soon as it has answered what waits; nobody answers this."""

    network: int


class Predict(Message):
    """Score `count` pictures of the network's shape, which lie one after the other at `offset` of the shared memory."""

    id: int
    network: int
    offset: int
    count: int
    came_at: float
    deadline: float | None
    level: int = DEFAULT_LEVEL


class Cancel(Message):
    """Whoever asked `id` has gone: do not begin with it. It is still answered, since its memory is in use till then."""

    id: int


class ValidateArchitecture(Message):
    """Could this network be built? `options` are JSON."""

    id: int
    name: str
    options: bytes
    sample_shape: tuple[int, ...]
    num_outputs: int
    cardinalities: tuple[int, ...]


class Ping(Message):
    id: int


# ---- answers


class ArchitectureFacts(msgspec.Struct, array_like=True):
    """One network to choose. `options` is the JSON Schema of its options, as JSON; for the rest see `Architecture`."""

    name: str
    summary: str
    source: str | None
    options: bytes
    pretrained: str | None


class ServerInfo(Message):
    """The first word of the process: what it is, and every architecture it can build."""

    pid: int
    device: str
    facts: dict[str, Any]
    architectures: list[ArchitectureFacts]


class Loaded(Message):
    """`num_bytes` is what it takes in the memory of `device`.

    `sample_shape` is what it reads, as `dtype`: (H, W, C) for pictures.
    `costs` are sizes of batches with the seconds that they took when it was warmed up.
    """

    id: int
    network: int
    num_bytes: int
    sample_shape: tuple[int, ...]
    dtype: str
    costs: list[tuple[int, float]]
    device: str


class Error(Message):
    """Any question can be answered so: an error of ours, by its slug."""

    id: int
    slug: str
    detail: str
    facts: dict[str, Any]


class PredictResult(msgspec.Struct, array_like=True, gc=False):
    """One caller's answer: float32 (count, num_outputs), and (place, why) of the pictures that the network failed on.

    Without a row and without an error, nothing was computed: the caller had gone, or its time was up.
    """

    id: int
    scores: bytes
    errors: list[tuple[int, str, str]]
    waited_s: float


class BatchResult(Message):
    """A batch of a network is done. `answers` are those that are complete now, of this connection.

    `num_others` are pictures that still wait for the network, of other connections.
    """

    network: int
    size: int
    num_failed: int
    num_dropped: int
    seconds: float
    answers: list[PredictResult]
    num_others: int = 0


class ArchitectureValid(Message):
    """It can be built; `options` are JSON with every default filled in."""

    id: int
    options: bytes
    num_parameters: int
    output_shape: tuple[int, ...]
    parameter_names: tuple[str, ...]


class ArchitectureInvalid(Message):
    """It cannot: either `errors`, pydantic's as JSON, or a reason for the place `path` in the options."""

    id: int
    errors: bytes
    path: str
    reason: str


class Pong(Message):
    id: int


Question = Load | Unload | Predict | Cancel | ValidateArchitecture | Ping
Answer = ServerInfo | Loaded | Error | BatchResult | ArchitectureValid | ArchitectureInvalid | Pong

_ENCODER = msgspec.msgpack.Encoder()
_QUESTIONS: msgspec.msgpack.Decoder[Question] = msgspec.msgpack.Decoder(Question)
_ANSWERS: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def encode(message: Message) -> bytes:
    """A message as it goes over the wire."""
    frame = bytearray(_LENGTH.size)
    _ENCODER.encode_into(message, frame, _LENGTH.size)
    _LENGTH.pack_into(frame, 0, len(frame) - _LENGTH.size)
    return bytes(frame)


def decode_request(frame: bytes) -> Question:
    """Raises msgspec.DecodeError."""
    return _QUESTIONS.decode(frame)


def decode_response(frame: bytes) -> Answer:
    """Raises msgspec.DecodeError."""
    return _ANSWERS.decode(frame)


class FrameDecoder:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Every message that is complete now.

        Raises:
            ValueError: the stream makes no sense; nothing after it does.
        """
        self._unread += received
        start = 0
        while len(self._unread) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._unread, start)
            if length > MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {length} bytes; at most {MAX_MESSAGE_BYTES} are read")
            end = start + _LENGTH.size + length
            if len(self._unread) < end:
                break
            yield bytes(self._unread[start + _LENGTH.size : end])
            start = end
        del self._unread[:start]


def _every(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _every(narrower)


_BY_SLUG = {kind.slug: kind for kind in _every(errors.ServiceError)}


def to_error(id: int, error: ServiceError) -> Error:
    """An error of ours as a message."""
    return Error(id, error.slug, error.detail, error.facts)


def from_error(refused: Error) -> ServiceError:
    """The error that a message tells of."""
    return _BY_SLUG.get(refused.slug, ServiceError)(refused.detail, **refused.facts)
