"""Messages between the API processes and the inference process, encoded with MessagePack.

A frame consists of the length of the message (4 bytes, little-endian) and the message. Samples are not part of
messages: a message contains their offset in shared memory. Each request with an `id` gets exactly one response.
"""

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from app.inference.types import DEFAULT_PRIORITY, OutputKind, ResizeRecipe
from core import errors
from core.errors import ServiceError

MAX_MESSAGE_BYTES = 64 * 2**20
TARGET_LATENCY_S = 0.00025
"""Default target latency per sample, in seconds: about the time that an API process needs per request."""
_LENGTH = struct.Struct("<I")


class Message(msgspec.Struct, tag=True, array_like=True, gc=False):
    """The base class of every message."""


# ---- messages that an API process sends


class Load(Message):
    """Load the bundle in `folder` and warm it up. Connections that load the same `key` and `output` share one model.

    Attributes:
        key: the key of the bundle in the store.
        output: the kind of output to compute.
        target_latency_s: target latency in seconds per sample. A model gets only as many CPU threads as it needs to
            reach the target.
    """

    id: int
    key: str
    output: OutputKind
    folder: str
    model: str
    max_batch_size: int
    max_waiting: int
    precision: str = "fp32"
    target_latency_s: float = TARGET_LATENCY_S


class Unload(Message):
    """Unload a model after its waiting samples are computed. This message has no response."""

    model_id: int


class Predict(Message):
    """Predict `count` samples of the model's shape, which are stored contiguously at `offset` in shared memory.

    `targets` are the classes that the heatmaps explain, if the output of the model is `attention`. Default: the most
    probable class of each sample.
    """

    id: int
    model_id: int
    offset: int
    count: int
    received_at: float
    deadline: float | None
    priority: int = DEFAULT_PRIORITY
    targets: tuple[int, ...] | None = None


class Cancel(Message):
    """Cancel the request `id` if its computation has not started. The request gets its response in any case."""

    id: int


class ValidateArchitecture(Message):
    """Check whether a network can be built. `options` is a JSON object.

    With patterns in `freeze`, also check whether the outputs of the frozen layers can be cached.
    """

    id: int
    name: str
    options: bytes
    sample_shape: tuple[int, ...]
    num_outputs: int
    cardinalities: tuple[int, ...]
    freeze: tuple[str, ...] = ()
    freeze_bn_stats: bool = True


class Ping(Message):
    """Check whether the inference process responds."""

    id: int


# ---- messages that the inference process sends


class ArchitectureInfo(msgspec.Struct, array_like=True):
    """An architecture; see `serving.backend.ArchitectureEntry`. `options` is the JSON Schema of its options."""

    name: str
    summary: str
    source: str | None
    options: bytes
    pretrained: str | None
    recipe: ResizeRecipe | None
    num_classes: int = 0
    image_shape: tuple[int, ...] = ()


class ServerInfo(Message):
    """The first message on a connection. Describes the process, its device and its architectures."""

    pid: int
    device: str
    runtime_info: dict[str, Any]
    architectures: list[ArchitectureInfo]


class LoadResult(Message):
    """A loaded model.

    Attributes:
        num_bytes: size of the weights in the memory of `device`, in bytes.
        sample_shape: shape of one sample; (H, W, C) for images.
        latencies: pairs of batch size and seconds, measured at warm-up.
    """

    id: int
    model_id: int
    num_bytes: int
    sample_shape: tuple[int, ...]
    dtype: str
    latencies: list[tuple[int, float]]
    device: str


class Error(Message):
    """The response to a request that failed: a `ServiceError`, identified by its slug."""

    id: int
    slug: str
    detail: str
    extra: dict[str, Any]


class PredictResult(msgspec.Struct, array_like=True, gc=False):
    """The result of one `Predict`.

    `scores` and `errors` are empty if the request was cancelled or timed out before all samples were computed.

    Attributes:
        scores: scores of the samples that succeeded, float32 (num_succeeded, num_outputs).
        errors: for each sample that failed: index of the sample, detail and reason of the error.
        waited_s: seconds that the request waited in the queue.
    """

    id: int
    scores: bytes
    errors: list[tuple[int, str, str]]
    waited_s: float


class BatchResult(Message):
    """A computed batch. `results` contains the results of those requests of the connection that the batch completed.

    `num_queued_elsewhere` is the number of samples that wait for the model on other connections.
    """

    model_id: int
    size: int
    num_failed: int
    num_dropped: int
    seconds: float
    results: list[PredictResult]
    num_queued_elsewhere: int = 0


class ArchitectureValid(Message):
    """The response if the network can be built. `options` is a JSON object that includes all defaults.

    `single_value_norms` are the names of the batch norms that get one value per channel from each sample.
    `cache_obstacle` is the reason why the outputs of the frozen layers cannot be cached; empty if they can.
    """

    id: int
    options: bytes
    num_parameters: int
    output_shape: tuple[int, ...]
    parameter_names: tuple[str, ...]
    single_value_norms: tuple[str, ...] = ()
    cache_obstacle: str = ""


class ArchitectureInvalid(Message):
    """The response if the network cannot be built. It contains pydantic's `errors` as JSON, or `path` and `reason`.

    Attributes:
        errors: the first `MAX_ERRORS` errors of the options; empty if the options are valid.
        path: the path of the option that does not fit the samples.
        reason: why the network cannot be built with valid options.
        num_errors: the number of all errors of the options.
    """

    id: int
    errors: bytes
    path: str
    reason: str
    num_errors: int = 0


class Pong(Message):
    """The response to a `Ping`."""

    id: int


ClientMessage = Load | Unload | Predict | Cancel | ValidateArchitecture | Ping
ServerMessage = ServerInfo | LoadResult | Error | BatchResult | ArchitectureValid | ArchitectureInvalid | Pong

_ENCODER = msgspec.msgpack.Encoder()
_CLIENT_DECODER: msgspec.msgpack.Decoder[ClientMessage] = msgspec.msgpack.Decoder(ClientMessage)
_SERVER_DECODER: msgspec.msgpack.Decoder[ServerMessage] = msgspec.msgpack.Decoder(ServerMessage)


def encode(message: Message) -> bytes:
    """Return the frame of a message."""
    frame = bytearray(_LENGTH.size)
    _ENCODER.encode_into(message, frame, _LENGTH.size)
    _LENGTH.pack_into(frame, 0, len(frame) - _LENGTH.size)
    return bytes(frame)


def decode_client_message(frame: bytes) -> ClientMessage:
    """Decode a message of an API process. Raises msgspec.DecodeError."""
    return _CLIENT_DECODER.decode(frame)


def decode_server_message(frame: bytes) -> ServerMessage:
    """Decode a message of the inference process. Raises msgspec.DecodeError."""
    return _SERVER_DECODER.decode(frame)


class FrameDecoder:
    """Splits a stream of bytes into encoded messages."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Add a chunk of the stream, and yield each complete message.

        Raises:
            ValueError: a message is too long, so the rest of the stream cannot be decoded.
        """
        self._unread += chunk
        start = 0
        while len(self._unread) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._unread, start)
            if length > MAX_MESSAGE_BYTES:
                raise ValueError(f"the message has {length} bytes; at most {MAX_MESSAGE_BYTES} are allowed")
            end = start + _LENGTH.size + length
            if len(self._unread) < end:
                break
            yield bytes(self._unread[start + _LENGTH.size : end])
            start = end
        del self._unread[:start]


def _iterate_classes(error_class: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield error_class
    for subclass in error_class.__subclasses__():
        yield from _iterate_classes(subclass)


_ERROR_CLASSES = {error_class.slug: error_class for error_class in _iterate_classes(errors.ServiceError)}


def to_error_message(id: int, error: ServiceError) -> Error:
    """Convert a ServiceError to an `Error` message."""
    return Error(id, error.slug, error.detail, error.extra)


def from_error_message(message: Error) -> ServiceError:
    """Convert an `Error` message to a ServiceError."""
    return _ERROR_CLASSES.get(message.slug, ServiceError)(message.detail, **message.extra)
