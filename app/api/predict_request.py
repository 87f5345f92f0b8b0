"""The three forms of a prediction's body: one picture as it is, several as multipart, JSON. Read by hand: it is hot."""

import asyncio
import binascii
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from app.api.multipart_fast import parse_simple_multipart
from app.http.asgi import get_header, get_media_type, read_body, replay_body
from app.schemas.predictions import MAX_INSTANCES, InstanceIn, PredictIn
from app.serving.decoding import PixelValues, Sent
from app.serving.table_input import Row
from core.errors import InvalidImage, TooLarge

FIELD = "images"
LARGE = 256 * 2**10  # bytes of JSON that would hold the event loop for a millisecond
PLAIN_FORM_BYTES = 2**20
BINARY = {"type": "string", "format": "binary"}
A_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg=="
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "One picture as it is, several as multipart, or JSON.",
    "content": {
        "image/png": {"schema": BINARY},
        "image/jpeg": {"schema": BINARY},
        "image/webp": {"schema": BINARY},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "additionalProperties": False,
                "properties": {FIELD: {"type": "array", "items": BINARY, "minItems": 1}},
            }
        },
        "application/json": {
            "schema": {"$ref": "#/components/schemas/PredictIn"},
            "examples": {
                "file": {
                    "summary": "A file in base64: a PNG of one black pixel",
                    "value": {"instances": [{"image": A_PIXEL}], "top_k": 3},
                },
                "numbers": {
                    "summary": "Pixels as numbers, for a model of grey pictures of 2 x 2",
                    "value": {"instances": [{"values": [[0, 128], [255, 64]]}]},
                },
                "rows": {
                    "summary": "Rows, for a model that reads a table; what is null or left out is missing",
                    "value": {
                        "rows": [
                            {
                                "bill_length_mm": 39.1,
                                "bill_depth_mm": 18.7,
                                "flipper_length_mm": 181,
                                "body_mass_g": 3750,
                                "island": "Torgersen",
                                "sex": "male",
                            },
                        ]
                    },
                },
                "window": {
                    "summary": "A window of a series: three steps of one value each",
                    "value": {"instances": [{"values": [[4210.5], [4388.0], [4461.2]]}]},
                },
            },
        },
    },
}


class PredictBody(NamedTuple):
    """The pictures, windows or rows, and `top_k` where the body says it."""

    instances: Sequence[Sent | Row]
    top_k: int | None


async def parse_predict_body(request: Request) -> PredictBody:
    """The pictures of a request.

    Raises:
        RequestValidationError: JSON or a form that is not as documented.
        TooLarge: too many pictures.
        HTTPException: 400 for what cannot be read, 415 for another media type.
    """
    try:
        return await _read_body(request)
    except ClientDisconnect:  # nobody reads the answer; it is no bug of ours either
        raise HTTPException(400, "The body ended early.") from None


async def _read_body(request: Request) -> PredictBody:
    sent_as = get_media_type(request.scope)
    if sent_as.startswith("image/") or sent_as in {"", "application/octet-stream"}:
        return PredictBody([await read_body(request)], None)
    if sent_as == "multipart/form-data":
        return PredictBody(await _read_files(request), None)
    if sent_as == "application/json":
        body = await read_body(request)
        return await asyncio.to_thread(_parse_instances, body) if len(body) > LARGE else _parse_instances(body)
    raise HTTPException(415, "Send image/png, image/jpeg, image/webp, multipart/form-data or application/json.")


async def _read_files(request: Request) -> list[Sent]:
    scope = request.scope
    if int(get_header(scope, b"content-length") or PLAIN_FORM_BYTES) < PLAIN_FORM_BYTES:
        body = await read_body(request)
        plain = parse_simple_multipart(body, get_header(scope, b"content-type") or "", FIELD, MAX_INSTANCES)
        if plain is not None:
            return list(plain)
        request = replay_body(request, body)  # for Starlette's parser, which writes large files aside
    async with request.form(max_files=MAX_INSTANCES, max_fields=1) as form:
        for name, value in form.multi_items():
            if name != FIELD:
                raise _build_form_error((name,), "extra_forbidden", "")
            if not isinstance(value, UploadFile):
                raise _build_form_error((FIELD,), "file", "should be files: give each a file name")
        files = [await file.read() for file in form.getlist(FIELD) if isinstance(file, UploadFile)]
    if not files:
        raise _build_form_error((FIELD,), "missing", "is missing")
    return list(files)


def _parse_instances(body: bytes) -> PredictBody:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"The body is not JSON: {error}") from None
    _check_count(document)
    try:
        said = PredictIn.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        refusal = RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found])
        refusal.schema = PredictIn.model_json_schema()  # type: ignore[attr-defined]  # FastAPI knows no body field here
        raise refusal from None
    if said.rows is not None:
        return PredictBody([Row(row) for row in said.rows], said.top_k)
    return PredictBody([_decode_instance(instance) for instance in said.instances or ()], said.top_k)


def _check_count(document: object) -> None:
    """Refuse a great many pictures before each of them is validated."""
    for field in ("instances", "rows"):
        members = document.get(field) if isinstance(document, dict) else None
        if isinstance(members, list) and len(members) > MAX_INSTANCES:
            raise TooLarge(f"At most {MAX_INSTANCES} {field} are read.", max_pictures=MAX_INSTANCES)


def _decode_instance(instance: InstanceIn) -> Sent:
    if instance.image is None:
        return PixelValues(instance.values)
    try:
        return binascii.a2b_base64(instance.image.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        return InvalidImage("The picture is not base64.")


def _build_form_error(loc: tuple[str, ...], kind: str, message: str) -> RequestValidationError:
    refusal = RequestValidationError([{"type": kind, "loc": ("body", *loc), "msg": message}])
    refusal.schema = {"properties": {FIELD: {}}}  # type: ignore[attr-defined]  # for the nearest valid name
    return refusal
