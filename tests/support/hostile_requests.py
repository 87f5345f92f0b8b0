"""Requests with hostile inputs, grouped by the kind of the input, to be sent to a service over sockets."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import orjson

from tests.support import hostile_archives, hostile_heads, hostile_images, hostile_json

CHUNK_BYTES = 2**16
MODEL = "digits"
PREDICT = f"/v1/models/{MODEL}/predict"
INFER = f"/v2/models/{MODEL}/infer"
JSON = {"Content-Type": "application/json"}
JSON_BODY_BYTES = 2**20
HUGE_BODY_BYTES = 32 * 2**20 - 2**10
INLINE_BODY_BYTES = 8 * 2**20 - 2**10
CROSS_SITE = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}


@dataclass(frozen=True)
class HostileRequest:
    """A request. `raw` replaces the head and the body by other bytes, also without end."""

    path: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    raw: Callable[[], Iterable[bytes]] | None = None
    build_body: Callable[[int], bytes] | None = None
    """Builds a body that differs from all others, if equal requests would share their work."""
    is_stream: bool = False
    """Whether the response has no end, so that the connection stays open until the senders stop."""

    def iterate_chunks(self, host: str, number: int) -> Iterator[bytes | memoryview]:
        """Yield the bytes to send. `number` differs between all requests of a run."""
        if self.raw is not None:
            yield from self.raw()
            return
        body = memoryview(self.body if self.build_body is None else self.build_body(number))
        headers = {"Host": host, "Connection": "close", "Content-Length": str(len(body)), **self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        yield "\r\n".join([*lines, "\r\n"]).encode()
        for start in range(0, len(body), CHUNK_BYTES):
            yield body[start : start + CHUNK_BYTES]


class HostileInput(NamedTuple):
    """One kind of hostile input. Its requests are distributed among the senders.

    Attributes:
        name: what the requests contain.
        build_requests: builds the requests; the parameter is the id of a paused job.
        num_senders: how many requests are sent in parallel; None: as many as the test chooses.
    """

    name: str
    build_requests: Callable[[str], Sequence[HostileRequest]]
    num_senders: int | None = None


def build_uploads(*names: str) -> list[HostileRequest]:
    """Return uploads of archives of the corpus."""
    return [HostileRequest(f"/v1/datasets/{name}/versions", hostile_archives.CORPUS[name]()) for name in names]


def build_predictions(bodies: Iterable[bytes]) -> list[HostileRequest]:
    """Return predictions of image files."""
    return [HostileRequest(PREDICT, body, {"Content-Type": "application/octet-stream"}) for body in bodies]


def build_dry_runs(*build_specs: Callable[[int], dict[str, Any]]) -> list[HostileRequest]:
    """Return dry runs of jobs. Each has another number of classes, because checks of equal networks are shared."""
    bodies = [partial(_encode_spec, build_spec) for build_spec in build_specs]
    return [HostileRequest("/v1/jobs?dry_run=true", headers=JSON, build_body=build_body) for build_body in bodies]


def _encode_spec(build_spec: Callable[[int], dict[str, Any]], number: int) -> bytes:
    return orjson.dumps(build_spec(10 + number))


def build_recurrent_spec(num_layers: int, depth: int, num_classes: int) -> dict[str, Any]:
    """Return a job whose network has many LSTM layers, each with `depth` layers."""
    layers: list[dict[str, Any]] = [{"type": "reshape", "shape": [32, 96]}]
    layers += [{"type": "lstm", "hidden": 96, "layers": depth, "take": "all"}] * num_layers
    layers += [{"type": "lstm", "hidden": 96}, {"type": "linear", "out": num_classes}]
    return build_image_spec({"name": "layers", "layers": layers}, num_classes)


def build_image_spec(architecture: dict[str, Any], num_classes: int) -> dict[str, Any]:
    """Return a job on synthetic images of 32 x 32."""
    dataset = {"name": "synthetic", "image_shape": [3, 32, 32], "num_samples": 2000, "num_classes": num_classes}
    return {"dataset": dataset, "architecture": architecture, "batch_size": 8}


def build_largest(make: Callable[[int], bytes]) -> bytes:
    """Return the document with as many members, at most 90,000, as a JSON body may have bytes."""
    count = 90_000
    while len(body := make(count)) > JSON_BODY_BYTES:
        count = count * JSON_BODY_BYTES // len(body)
    return body


def build_equal_posts(job_id: str) -> list[HostileRequest]:
    """Return posts of one job with one idempotency key. The key differs between paused jobs."""
    spec = {**hostile_json.SPEC, "name": "repeated", "epochs": 1}
    return [HostileRequest("/v1/jobs", orjson.dumps(spec), JSON | {"Idempotency-Key": f"noisy-{job_id}"})]


def build_foreign_requests(job_id: str) -> list[HostileRequest]:
    """Return what a web page of another site can send without permission."""
    job = orjson.dumps(hostile_json.SPEC)
    rebound = {"Host": "rebind.evil.example"}
    return [
        HostileRequest("/v1/datasets/foreign/versions", hostile_archives.claimed_size_tar(), CROSS_SITE),
        HostileRequest("/v1/jobs", job, CROSS_SITE),
        HostileRequest(f"/v2/repository/models/{MODEL}/unload", b"", CROSS_SITE),
        HostileRequest(f"/v1/jobs/{job_id}/cancel?force=true", b"", CROSS_SITE),
        HostileRequest("/v1/jobs", b"", rebound, "GET"),
        HostileRequest("/v1/jobs", job, rebound | JSON),
    ]


def build_bulky_json() -> list[HostileRequest]:
    """Return predictions in JSON of 32 MB."""
    members = {b"1": HUGE_BODY_BYTES // 2, b"[]": HUGE_BODY_BYTES // 3}
    bodies = [hostile_json.build_instances(hostile_json.repeat(value, count - 20)) for value, count in members.items()]
    bodies.append(b'{"instances":' + b"[" * (HUGE_BODY_BYTES - 13))
    return [HostileRequest(PREDICT, body, JSON) for body in bodies]


def build_bulky_tensors() -> list[HostileRequest]:
    """Return requests of the Open Inference Protocol of 32 MB: numbers in JSON, and empty elements."""
    count = HUGE_BODY_BYTES // 2 - 100
    numbers = hostile_json.build_tensor(hostile_json.repeat(b"1", count), [count])
    body, headers = hostile_json.build_binary_tensor(bytes(8_000_000 * 4), [8_000_000])
    return [HostileRequest(INFER, numbers, JSON), HostileRequest(INFER, body, headers)]


def build_bulky_datasets() -> list[HostileRequest]:
    """Return datasets in JSON of 8 MB, and one of 32 MB."""
    members = {b"1": INLINE_BODY_BYTES // 2, b"[]": INLINE_BODY_BYTES // 3, b'{"a":1}': INLINE_BODY_BYTES // 8}
    bodies = [hostile_json.build_dataset(hostile_json.repeat(value, count - 20)) for value, count in members.items()]
    bodies.append(hostile_json.build_dataset(hostile_json.repeat(b"1", HUGE_BODY_BYTES // 2)))
    return [HostileRequest("/v1/datasets", body, JSON) for body in bodies]


def build_odd_requests() -> list[HostileRequest]:
    """Return requests whose responses once had the wrong status, and malformed heads."""
    oversized = [hostile_images.oversized_webp(kind) for kind in ("VP8 ", "VP8L", "VP8X")]
    ranges = [
        HostileRequest("/v1/datasets/digits/versions/1/preview", b"", {"Range": value}, "GET")
        for value in ("bytes=5-2", "bytes=" + "0-1," * 5000 + "0-1")
    ]
    long_version = HostileRequest(f"/v2/models/{MODEL}/versions/{'9' * 25}/infer", b"{}", JSON)
    malformed = [HostileRequest(raw=partial(iter, [head])) for head in hostile_heads.MALFORMED.values()]
    return [*build_predictions(oversized), *ranges, long_version, *malformed]


CLAIMED_SIZES = [name for name in hostile_archives.CORPUS if name.startswith(("claimed", "pax", "sparse"))]

INPUTS: tuple[HostileInput, ...] = (
    HostileInput("archives that claim huge sizes", lambda _: build_uploads(*CLAIMED_SIZES)),
    HostileInput("claimed size behind 20,010 folders", lambda _: build_uploads("hidden-claimed-size")),
    HostileInput("decompression bombs", lambda _: build_uploads("bomb", "empty-members", "long-name")),
    HostileInput(
        "tar with 100,000 global pax keys",
        lambda _: build_uploads("global-pax", "overlapping-pax", "extension-flood"),
    ),
    HostileInput("zip with a directory of 39 MB", lambda _: build_uploads("large-directory", "overlapping-zip")),
    HostileInput("dry run of 600 LSTM layers of 32", lambda _: build_dry_runs(partial(build_recurrent_spec, 600, 32))),
    HostileInput(
        "dry runs of large networks",
        lambda _: build_dry_runs(
            partial(build_recurrent_spec, 300, 3),
            *(partial(build_image_spec, {"name": name}) for name in ("densenet201", "resnet152")),
        ),
    ),
    HostileInput("50 posts with one Idempotency-Key", build_equal_posts, 50),
    HostileInput("requests of foreign web pages", build_foreign_requests),
    HostileInput(
        "request heads without end",
        lambda _: [HostileRequest(raw=make) for make in hostile_heads.ENDLESS],
    ),
    HostileInput(
        "images that are refused",
        lambda _: build_predictions(make() for make in hostile_images.REJECTED.values()),
    ),
    HostileInput(
        "images that need much work",
        lambda _: build_predictions(
            [
                hostile_images.build_png(5000, 5000, depth=16, color=2),
                hostile_images.multi_scan_jpeg(5000, 40),
                *(make() for make in hostile_images.DECODED.values()),
            ]
        ),
    ),
    HostileInput(
        "jobs with up to 90,000 unknown keys",
        lambda _: [HostileRequest("/v1/jobs", build_largest(make), JSON) for make in hostile_json.JOBS.values()],
    ),
    HostileInput("32 MB of JSON to predict", lambda _: build_bulky_json()),
    HostileInput("32 MB of JSON or BYTES to /v2", lambda _: build_bulky_tensors()),
    HostileInput("8 and 32 MB of JSON to /v1/datasets", lambda _: build_bulky_datasets()),
    HostileInput(
        "520 event streams of a paused job",
        lambda job_id: [HostileRequest(f"/v1/jobs/{job_id}/events", method="GET", is_stream=True)],
        520,
    ),
    HostileInput("ranges, versions, VP8 and malformed heads", lambda _: build_odd_requests()),
)
