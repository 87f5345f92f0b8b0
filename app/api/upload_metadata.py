"""Parses the header `Upload-Metadata`: the name of the dataset, and the options of the import.

Source: tus resumable upload protocol 1.0.0, extension creation.
"""

import json
import re
from typing import Any, NamedTuple

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.api.number_parameters import check_number_texts
from app.api.upload_params import UploadParams
from app.problems import InvalidJson
from core.base64_text import InvalidBase64, decode_base64
from core.spec.base import NAME_PATTERN
from core.spec.error_pointers import format_unknown_name, quote_name
from core.spec.patterns import describe_pattern

HEADER = "Upload-Metadata"
MAX_METADATA_CHARACTERS = 16 * 2**10
MAX_METADATA_KEYS = 64
DATASET, FILE_NAME, FILE_TYPE = "dataset", "filename", "filetype"
_IGNORED = ("name", "type", "relativePath")  # Uppy sends them with every file
_KEY = re.compile(r"[!-+\--~]{1,64}")  # ASCII without spaces and commas
_CSV = "text/csv"
_LISTS = frozenset(
    name
    for name, schema in UploadParams.model_json_schema()["properties"].items()
    if "array" in {each.get("type") for each in (schema, *schema.get("anyOf", ()))}
)


class UploadTarget(NamedTuple):
    """The dataset of an upload, and the options of the import, as `DatasetService.accept_upload` takes them."""

    dataset: str
    options: dict[str, Any]


def parse_metadata(header: str) -> dict[str, str]:
    """Return the decoded values by key. The key order is that of the header.

    Raises:
        InvalidJson: 422, a pair is not a key and a base64 value, a key is repeated, or a value is not UTF-8.
    """
    pairs = [pair.strip(" \t") for pair in header.split(",")] if header.strip(" \t") else []
    if len(pairs) > MAX_METADATA_KEYS:
        raise InvalidJson(f"{HEADER}:", f"has {len(pairs)} keys; at most {MAX_METADATA_KEYS} are accepted")
    values: dict[str, str] = {}
    for pair in pairs:
        key, _, encoded = pair.partition(" ")
        if not _KEY.fullmatch(key):
            raise InvalidJson(f"{HEADER}:", f"has the key {quote_name(key)}; keys are ASCII without spaces and commas")
        if key in values:
            raise InvalidJson(f"{HEADER}:", f"has the key {quote_name(key)} twice")
        values[key] = _decode_value(key, encoded)
    return values


def parse_target(header: str) -> UploadTarget:
    """Return the dataset and the import options of an upload.

    The key `dataset` is required. The query parameters of `POST /v1/datasets/{name}/versions` are optional keys; a
    parameter that can be repeated is a name, or a JSON array of names. `filetype: text/csv` marks a table.

    Raises:
        InvalidJson: see `parse_metadata`; 422, a key is missing or unknown, or the dataset name is invalid.
        RequestValidationError: an option is invalid.
    """
    values = parse_metadata(header)
    allowed = (DATASET, FILE_NAME, FILE_TYPE, *UploadParams.model_fields)
    for key in values:
        if key not in allowed and key not in _IGNORED:
            raise InvalidJson(f"{HEADER}:", format_unknown_name("key", key, allowed))
    dataset = values.get(DATASET)
    if dataset is None:
        raise InvalidJson(f"{HEADER}/{DATASET}:", "is missing: it is the base64 of the name of the dataset")
    if not re.fullmatch(NAME_PATTERN, dataset):
        raise InvalidJson(
            f"{HEADER}/{DATASET}:", f"must be {describe_pattern(NAME_PATTERN)}; got {quote_name(dataset)}"
        )
    media_type = values.get(FILE_TYPE, "").partition(";")[0].strip().lower()
    options = _parse_options({key: value for key, value in values.items() if key in UploadParams.model_fields})
    return UploadTarget(dataset, options | {"is_table": media_type == _CSV})


def _decode_value(key: str, encoded: str) -> str:
    try:
        text = encoded.strip(" \t")
        if " " in text or "\t" in text:  # of a key and a value, only one space is between them
            raise InvalidBase64("has a space")
        return decode_base64(text).decode() if text else ""
    except ValueError:
        raise InvalidJson(f"{HEADER}/{key}:", "must be the base64 of a UTF-8 text") from None


def _parse_options(texts: dict[str, str]) -> dict[str, Any]:
    values = {key: _parse_list(key, text) if key in _LISTS else text for key, text in texts.items()}
    try:
        check_number_texts(UploadParams, texts)
        return UploadParams.model_validate(values).to_options()
    except (ValidationError, RequestValidationError) as error:
        raise _build_error(error) from None


def _parse_list(key: str, text: str) -> Any:  # noqa: ANN401 - any JSON array, which the model validates
    if not text.startswith("["):
        return [text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidJson(f"{HEADER}/{key}:", 'must be a name, or a JSON array of names such as ["a", "b"]') from None


def _build_error(error: ValidationError | RequestValidationError) -> RequestValidationError:
    """Return the error with the keys of the header as locations."""
    is_query = isinstance(error, RequestValidationError)  # its locations start with the word "query"
    return RequestValidationError(
        [{**entry, "loc": ("header", f"{HEADER}/{entry['loc'][1 if is_query else 0]}")} for entry in error.errors()]
    )
