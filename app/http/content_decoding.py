"""Decompresses request bodies with the header Content-Encoding while they are received.

The layers behind it see a body without the header: its size limit, the memory budget and the parsers apply to the
decompressed bytes, and a body that is too large is rejected before the rest of it is decompressed.
"""

from collections.abc import Callable
from http import HTTPStatus

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.body_budget import BodyBudget, BufferedBody
from app.http.content_codings import (
    CODINGS,
    WINDOW_BYTES,
    ContentDecoder,
    CorruptBody,
    UnsupportedCoding,
    parse_content_encoding,
)
from app.http.middleware import format_size_limit, refuse_long_body
from app.http.refusals import build_close_header, has_body
from app.problems import ProblemResponse, build_problem

HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
MAX_CODINGS = 2
MAX_QUOTED = 80
FEED_BYTES = 2**16
MAX_INLINE_BYTES = 2**18
"""A body that is larger after decompression is decompressed in a thread."""
MAX_THREADS = 2
RESUMABLE_PATH = "/v1/uploads"
_RESUMABLE_REASON = (
    "A resumable upload counts the bytes of the file, so its body must have no Content-Encoding; upload a compressed "
    "archive, or send the file to /v1/datasets/{name}/versions."
)
_threads: RunVar[CapacityLimiter] = RunVar("content_decoding")


class ContentDecodingMiddleware:
    """Decompresses request bodies, and rejects unknown codings with 415 and the header Accept-Encoding.

    Args:
        app: the next ASGI application.
        get_limit: returns the maximum size of a body for a path. It also limits the compressed size, and the size
            between two codings.
        is_streamed: returns whether the application writes the bodies for a path to a file.
        budget: the budget of large bodies in memory. The windows of the decoders count in it.
    """

    def __init__(
        self,
        app: ASGIApp,
        get_limit: Callable[[str], int],
        is_streamed: Callable[[str], bool],
        budget: BodyBudget,
    ) -> None:
        self._app = app
        self._get_limit = get_limit
        self._is_streamed = is_streamed
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_encoded(scope):
            await self._app(scope, receive, send)
            return
        limit = self._get_limit(scope["path"])
        encoding = ",".join(str(value, "latin-1") for name, value in scope["headers"] if name == b"content-encoding")
        try:
            codings = parse_content_encoding(encoding)
        except UnsupportedCoding as error:
            await _refuse(scope, describe_unsupported(error.name))(scope, receive, send)
            return
        if len(codings) > MAX_CODINGS:
            detail = f"Content-Encoding has {len(codings)} codings; at most {MAX_CODINGS} are accepted."
            await _refuse(scope, detail)(scope, receive, send)
            return
        if not codings:
            await self._app(scope, receive, send)
            return
        if (scope["path"] + "/").startswith(RESUMABLE_PATH + "/"):
            await _refuse(scope, _RESUMABLE_REASON, accepted="identity")(scope, receive, send)
            return
        if refusal := refuse_long_body(scope, limit):
            await refusal(scope, receive, send)
            return
        scope["headers"] = [header for header in scope["headers"] if header[0] not in HEADERS]
        scope["headers"].append((b"transfer-encoding", b"chunked"))  # the decompressed length is unknown
        is_streamed = self._is_streamed(scope["path"])
        body = DecodedBody(codings, limit, receive, self._budget, is_streamed=is_streamed)
        try:
            await self._app(scope, body.receive, send)
        finally:
            body.close()


class DecodedBody:
    """The decompressed body of a request. Only the windows of its decoders count in the budget, until its end.

    Args:
        is_streamed: whether the body is written to a file. It may take any time, but is too slow if it stops arriving.
    """

    def __init__(
        self, codings: list[str], limit: int, receive: Receive, budget: BodyBudget, *, is_streamed: bool = False
    ) -> None:
        self._decoder = ContentDecoder(codings, self._count_input)
        self._limit = limit
        self._receive = receive
        self._budget = budget
        self._is_streamed = is_streamed
        self._window: BufferedBody | None = None
        self._window_bytes = sum(WINDOW_BYTES.get(coding, 0) for coding in codings)
        self._num_input = [0] * len(codings)
        self._num_output = 0
        self._waiting = memoryview(b"")
        self._is_received = self._is_finished = False

    async def receive(self) -> Message:
        """Return the next piece of the body as a message of the request.

        Raises:
            HTTPException: 400, the body is corrupt or incomplete; 413, it is too large; 503, too many bodies are being
                decompressed.
        """
        if self._is_finished:
            return await self._receive()  # waits until the client disconnects
        while True:
            if not self._decoder.needs_input:
                if chunk := await self._read_chunk():
                    self._num_output += len(chunk)
                    return {"type": "http.request", "body": chunk, "more_body": True}
            elif self._waiting:
                self._decoder.feed(bytes(self._waiting[:FEED_BYTES]))
                self._waiting = self._waiting[FEED_BYTES:]
            elif self._is_received:
                self._finish()
                return {"type": "http.request", "body": b"", "more_body": False}
            else:
                message = await self._receive_input()
                if message["type"] != "http.request":
                    return message
                self._waiting = memoryview(message.get("body", b""))
                self._is_received = not message.get("more_body")

    def close(self) -> None:
        """Release the memory of the decoders."""
        if self._window is not None:
            self._window.close()

    async def _receive_input(self) -> Message:
        if self._window is None:
            message = await self._receive()
            if self._window_bytes and message.get("body"):
                self._window = self._budget.open_body()
                self._budget.reserve(self._window, self._window_bytes)
            return message
        message = await self._window.receive(self._receive, is_counted=False)
        if self._is_streamed:
            self._window.restart_clock()
        return message

    async def _read_chunk(self) -> bytes:
        try:
            if self._num_output < MAX_INLINE_BYTES and max(self._num_input) < MAX_INLINE_BYTES:
                return self._decoder.read()
            return await run_sync(self._decoder.read, limiter=_get_threads())
        except CorruptBody as error:
            raise _build_error(HTTPStatus.BAD_REQUEST, f"The body {error}.") from None

    def _finish(self) -> None:
        try:
            self._decoder.finish()
        except CorruptBody as error:
            raise _build_error(HTTPStatus.BAD_REQUEST, f"The body {error}.") from None
        self._is_finished = True
        self.close()

    def _count_input(self, stage: int, num_bytes: int) -> None:
        self._num_input[stage] += num_bytes
        if self._num_input[stage] > self._limit:
            raise _build_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, format_size_limit(self._limit))


def _is_encoded(scope: Scope) -> bool:
    return any(name == b"content-encoding" for name, _ in scope["headers"]) and has_body(scope)


def _get_threads() -> CapacityLimiter:
    threads = _threads.get(None)
    if threads is None:
        threads = CapacityLimiter(MAX_THREADS)
        _threads.set(threads)
    return threads


def describe_unsupported(name: str) -> str:
    """Return the detail of the 415 for a coding that the client sent."""
    return f"The Content-Encoding {name!r:.{MAX_QUOTED}} is not supported; send {', '.join(CODINGS)} or none."


def _refuse(scope: Scope, detail: str, accepted: str = ", ".join(CODINGS)) -> ProblemResponse:
    headers = {"Accept-Encoding": accepted, **build_close_header(scope)}
    return build_problem(
        Request(scope), 415, "unsupported-media-type", "Unsupported media type", detail, headers=headers
    )


def _build_error(status: HTTPStatus, detail: str) -> HTTPException:
    """Return an HTTPException, because FastAPI converts others that are raised in a body to a 400."""
    return HTTPException(status, detail, {"Connection": "close"})
