"""Parses the body of a prediction request: one image file, several image files as multipart, or JSON."""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from app.api.multipart_fast import parse_simple_multipart
from app.http.asgi import get_header, get_media_type, read_body, replay_body
from app.http.json_bodies import MAX_DATA_VALUES, PREDICTIONS, check_num_values, is_quick_to_parse
from app.problems import InvalidBody
from app.schemas.predictions import MAX_INSTANCES, InstanceIn, PredictIn
from app.serving.decoding import ImageInput, PixelValues
from app.serving.table_input import TableRow
from core.base64_text import InvalidBase64, decode_base64
from core.errors import InvalidImage, TooLarge

FIELD = "images"
MAX_FIELDS = 8
"""Maximum number of fields of an instance; pydantic creates an error for each unknown one."""
SMALLER_INPUT = "Send images in base64 or as files, or send fewer instances."
MAX_SIMPLE_FORM_BYTES = 2**20
BINARY = {"type": "string", "format": "binary"}
PNG_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg=="
IMAGE_KINDS = ("png", "jpeg", "webp", "gif", "bmp", "tiff")
FILES_BODY = "PredictFilesBody"
FILES_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Image files.",
    "required": [FIELD],
    "additionalProperties": False,
    "properties": {FIELD: {"type": "array", "items": BINARY, "minItems": 1, "description": "Image files."}},
}
"""The schema of the multipart body, which the document names `FILES_BODY`."""
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "One image file, several image files as multipart, or JSON.",
    "content": {
        **{f"image/{kind}": {"schema": BINARY} for kind in IMAGE_KINDS},
        "multipart/form-data": {"schema": {"$ref": f"#/components/schemas/{FILES_BODY}"}},
        "application/json": {
            "schema": {"$ref": "#/components/schemas/PredictIn"},
            "examples": {
                "file": {
                    "summary": "An image file in base64: a PNG of one black pixel",
                    "value": {"instances": [{"image": PNG_PIXEL}], "top_k": 3},
                },
                "numbers": {
                    "summary": "Pixels as numbers, for a model of grayscale images of 2 x 2 pixels",
                    "value": {"instances": [{"values": [[0, 128], [255, 64]]}]},
                },
                "rows": {
                    "summary": "Rows, for a model of a table; null or an absent column is a missing value",
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
                    "summary": "A window of a series: three time steps with one value each",
                    "value": {"instances": [{"values": [[4210.5], [4388.0], [4461.2]]}]},
                },
            },
        },
    },
}


class PredictBody(NamedTuple):
    """The instances and the `top_k` of a prediction request. `top_k` is None if the body does not contain it."""

    instances: Sequence[ImageInput | TableRow]
    top_k: int | None


GetMaxValues = Callable[[], Awaitable[int]]
"""Returns how many values and keys the JSON may have, which depends on the model. It is called for large JSON only."""


async def parse_predict_body(request: Request, get_max_values: GetMaxValues) -> PredictBody:
    """Return the instances and the `top_k` of a request.

    Raises:
        InvalidBody: the JSON or the multipart form does not match the schema.
        TooLarge: there are too many instances, or more JSON values than the model can use.
        HTTPException: 400, the body is incomplete or malformed; 415, the media type is not supported.
    """
    try:
        return await _read_body(request, get_max_values)
    except ClientDisconnect:
        raise HTTPException(400, "The body is incomplete.") from None


async def _read_body(request: Request, get_max_values: GetMaxValues) -> PredictBody:
    media_type = get_media_type(request.scope)
    if media_type.startswith("image/") or media_type in {"", "application/octet-stream"}:
        return PredictBody([await read_body(request)], None)
    if media_type == "multipart/form-data":
        return PredictBody(await _read_files(request), None)
    if media_type == "application/json":
        body = await read_body(request)
        if is_quick_to_parse(body):
            return _parse_instances(body)
        max_values = min(MAX_DATA_VALUES, await get_max_values())
        return await PREDICTIONS.run(lambda: _parse_large_json(body, max_values))
    raise HTTPException(
        415,
        f"The media type {media_type!r:.80} is not supported; send an image ({', '.join(IMAGE_KINDS)}), "
        "multipart/form-data or application/json.",
    )


async def _read_files(request: Request) -> list[ImageInput]:
    scope = request.scope
    if int(get_header(scope, b"content-length") or MAX_SIMPLE_FORM_BYTES) < MAX_SIMPLE_FORM_BYTES:
        body = await read_body(request)
        if body.count(b"\r\n--") > MAX_INSTANCES + 1:  # every part and the end follow such a delimiter
            raise TooLarge(f"{FIELD} must be at most {MAX_INSTANCES} files.", max_images=MAX_INSTANCES)
        files = parse_simple_multipart(body, get_header(scope, b"content-type") or "", FIELD, MAX_INSTANCES)
        if files is not None:
            return list(files)
        request = replay_body(request, body)  # Starlette's parser supports all forms and stores large files on disk
    async with request.form(max_files=MAX_INSTANCES, max_fields=1) as form:
        for name, value in form.multi_items():
            if name != FIELD:
                raise _build_form_error((name,), "extra_forbidden", "")
            if not isinstance(value, UploadFile):
                raise _build_form_error((FIELD,), "file", "must be files, each with a file name")
        uploads = [await file.read() for file in form.getlist(FIELD) if isinstance(file, UploadFile)]
    if not uploads:
        raise _build_form_error((FIELD,), "missing", "is missing")
    return list(uploads)


def _parse_large_json(body: bytes, max_values: int) -> PredictBody:
    check_num_values(body, max_values, SMALLER_INPUT)
    return _parse_instances(body)


def _parse_instances(body: bytes) -> PredictBody:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"The body is not valid JSON: {error}") from None
    _check_count(document)
    try:
        parsed = PredictIn.model_validate(document)
    except ValidationError as error:
        raise InvalidBody.from_model(error, PredictIn) from None
    if parsed.rows is not None:
        return PredictBody([TableRow(row) for row in parsed.rows], parsed.top_k)
    return PredictBody([_decode_instance(instance) for instance in parsed.instances or ()], parsed.top_k)


def _check_count(document: object) -> None:
    """Raise an error if there are too many instances or fields. Called before pydantic validates each of them."""
    for field in ("instances", "rows"):
        members = document.get(field) if isinstance(document, dict) else None
        members = [members] if isinstance(members, dict) else members  # one instance in place of an array of one
        if isinstance(members, list) and len(members) > MAX_INSTANCES:
            raise TooLarge(
                f"{field} must have at most {MAX_INSTANCES} items; got {len(members)}.", max_images=MAX_INSTANCES
            )
        if field == "rows":
            continue
        for index, member in enumerate(members if isinstance(members, list) else ()):
            if isinstance(member, dict) and len(member) > MAX_FIELDS:
                raise _build_json_error((field, index), f"has {len(member)} fields; an instance has image or values")
    if isinstance(document, dict) and len(document) > MAX_FIELDS:
        raise _build_json_error((), f"has {len(document)} fields; the fields are instances, rows and top_k")


def _decode_instance(instance: InstanceIn) -> ImageInput:
    if instance.image is None:
        return PixelValues(instance.values)
    try:
        return decode_base64(instance.image)
    except InvalidBase64 as error:
        return InvalidImage(f"The image is not valid base64: it {error}.")


def _build_json_error(loc: tuple[str | int, ...], message: str) -> InvalidBody:
    return InvalidBody([{"type": "too_long", "loc": loc, "msg": message}], _build_schema())


@lru_cache(maxsize=1)
def _build_schema() -> dict[str, Any]:
    return PredictIn.model_json_schema()


def _build_form_error(loc: tuple[str, ...], kind: str, message: str) -> InvalidBody:
    return InvalidBody([{"type": kind, "loc": loc, "msg": message}], {"properties": {FIELD: {}}})
