"""The target that reads multipart forms: the fast and the complete parser of predictions, and the parser of uploads."""

from collections.abc import AsyncIterator

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.api import predict_request
from app.api.multipart_fast import parse_simple_multipart
from app.api.multipart_stream import parse_boundary, stream_file
from app.api.predict_request import FIELD, parse_predict_body
from app.schemas.predictions import MAX_INSTANCES
from core.errors import ServiceError
from tests.fuzz.target import FuzzTarget
from tests.fuzz.targets.errors import check_problem, run_coroutine
from tests.fuzz.targets.requests import build_request
from tests.support.images import random_png

CHUNK_SIZES = (1, 10, 1000, 2**16)
FILE_FIELD = "file"


def parse_form(body: bytes) -> None:
    """Parse a form as a prediction and as an upload.

    The first line of the input is the content type. Whatever the fast parser accepts, the complete parser reads too.
    """
    line, _, form = body.partition(b"\n")
    content_type = line.decode("latin-1")
    simple = parse_simple_multipart(form, content_type, FIELD, MAX_INSTANCES)
    complete = _parse_completely(form, content_type)
    if simple is not None and complete is not None:
        assert simple == complete, "the parsers disagree"
    for chunk_size in CHUNK_SIZES if len(form) < 2000 else CHUNK_SIZES[2:]:
        run_coroutine(_stream_upload(form, content_type, chunk_size))


def _parse_completely(form: bytes, content_type: str) -> list[object] | None:
    """Return the files that Starlette's parser finds, or None if it rejects the form."""
    fields = {"content-length": str(predict_request.MAX_SIMPLE_FORM_BYTES)}  # so large that the fast parser is not used
    request = build_request("/v1/models/digits/predict", form, content_type, fields)
    try:
        return list(run_coroutine(parse_predict_body(request, _get_max_values)).instances)
    except (ServiceError, HTTPException, RequestValidationError) as error:
        check_problem(error)
        return None


async def _get_max_values() -> int:
    return 1000


async def _stream_upload(form: bytes, content_type: str, chunk_size: int) -> None:
    async def iterate_chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(form), chunk_size):
            yield form[start : start + chunk_size]

    try:
        boundary = parse_boundary(content_type)
        if boundary is not None:
            content = b"".join([chunk async for chunk in stream_file(iterate_chunks(), boundary, FILE_FIELD)])
            assert len(content) <= len(form)
    except (ServiceError, HTTPException) as error:
        check_problem(error)


def _build_form(boundary: str, *parts: bytes, end: bytes = b"--\r\n") -> bytes:
    delimiter = b"--" + boundary.encode()
    content = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    return b"multipart/form-data; boundary=" + boundary.encode() + b"\n" + content + delimiter + end


def build_forms() -> list[bytes]:
    """Return forms with one and several files and fields, valid and malformed."""
    png = random_png(1, height=2, width=2)
    image = b'Content-Disposition: form-data; name="images"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + png
    field = b'Content-Disposition: form-data; name="top_k"\r\n\r\n3'
    upload = b'Content-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\nPK\r\n--x-\r\n'
    return [
        _build_form("x-1", image),
        _build_form("x-1", image, image),
        _build_form("x-1", image, field),
        _build_form("x-1", upload),
        _build_form("x-1", upload, upload),
        _build_form("x", image, end=b""),
        _build_form("x", image, end=b"--"),
        _build_form("x", end=b"--\r\n"),
        _build_form("a" * 70, upload),
        _build_form('"q s"', image),
        b"multipart/form-data\n--x\r\n",
        b"multipart/form-data; boundary=\n----\r\n",
        b"multipart/form-data; boundary*=utf-8''%ff\n--x--\r\n",
        b"image/png\n" + png,
        b"\n" + png,
    ]


MULTIPART_TOKENS = (
    b"\r\n--x-1",
    b"--x-1--\r\n",
    b"\r\n\r\n",
    b'name="images"',
    b'name="file"',
    b'; filename="',
    b"filename*=utf-8''%c3%a9",
    b"Content-Type: text/plain\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"multipart/form-data; boundary=x-1\n",
    b'\\"',
    b'Content-Disposition: form-data; name="images"; filename="b"\r\n\r\n',
    b"boundary",
    b"\xff",
)
TARGETS = {"multipart": FuzzTarget(parse_form, build_forms, tokens=MULTIPART_TOKENS)}
