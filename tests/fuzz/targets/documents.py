"""Targets that read JSON documents: the strict parser, job specs and inline datasets."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import yaml
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.api.inline_request import INLINE_BODY, parse_inline_dataset
from app.api.strict_route import parse_json
from app.services.catalog import SPEC_UNIONS
from app.services.validation.resolve import parse_job_spec
from core.datasets.ingest.upload_check import check_upload
from core.errors import InvalidSpec, ServiceError
from core.spec import ANY_JOB
from core.spec.error_pointers import MAX_ERRORS, UNEXPLAINED
from tests.fuzz.mutations import mutate_json
from tests.fuzz.target import FuzzTarget
from tests.fuzz.targets.errors import check_problem, run_coroutine
from tests.fuzz.targets.files import LIMITS
from tests.fuzz.targets.requests import build_request
from tests.fuzz.targets.scratch import write_input
from tests.support import hostile_json
from tests.support.spec_examples import build_member, list_names

EXAMPLES = Path(__file__).parents[3] / "examples"
MODEL_JOB = {"model": "digits@1", "dataset": {"name": "digits"}}


def parse_strictly(body: bytes) -> None:
    """Parse JSON strictly. What is accepted can be sent back as JSON, and has the same value."""
    try:
        document = parse_json(body)
    except HTTPException as error:
        check_problem(error)
        return
    assert parse_json(json.dumps(document).encode()) == document
    orjson.dumps(document)


def parse_spec(body: bytes) -> None:
    """Parse a job spec. An accepted spec is unchanged by a round trip; errors point to existing places."""
    try:
        document = parse_json(body)
    except HTTPException as error:
        check_problem(error)
        return
    if not isinstance(document, dict):
        return
    try:
        spec = parse_job_spec(document)
    except InvalidSpec as error:
        check_problem(error)
        _check_errors(error.errors, document)
        return
    stored = ANY_JOB.dump_python(spec, mode="json")
    assert ANY_JOB.validate_python(json.loads(json.dumps(stored))) == spec


def _check_errors(errors: Sequence[tuple[str, str]], document: Any) -> None:
    assert errors
    for pointer, reason in errors[:MAX_ERRORS]:
        _check_pointer(pointer, document)
        assert reason
        assert reason != UNEXPLAINED


def _check_pointer(pointer: str, document: Any) -> None:
    """Check that a pointer names a value of the document, or a field or item that is missing in it.

    Pointers refer to the long form: a value may stand for an array of one, and a name for an object, which may lack a
    field.
    """
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    value = document
    for position, part in enumerate(parts):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, str) and set(parts[position:-1]) <= {"0"}:
            return  # a name, which stands for an object
        elif not isinstance(value, dict | list) and parts[position:] == ["0"]:
            return  # a scalar, which stands for an array of one
        elif isinstance(value, dict) and part == "0":  # it stands for an array of one
            continue
        else:
            assert position >= len(parts) - 1, f"{pointer} points into nothing"
            is_missing_item = isinstance(value, list) and part.isdigit()  # of an array of a fixed length
            assert isinstance(value, dict) or is_missing_item, f"{pointer} is a field of {type(value).__name__}"


def parse_inline(body: bytes) -> None:
    """Parse an inline dataset, and check the file that it becomes as an upload."""
    request = build_request("/v1/datasets", body, "application/json")
    try:
        _, upload = run_coroutine(parse_inline_dataset(request))
        check_upload(write_input(upload.body), LIMITS, upload.options)
    except (ServiceError, HTTPException, RequestValidationError) as error:
        check_problem(error)


def build_documents() -> list[bytes]:
    """Return JSON documents of all kinds."""
    hostile = [build(50) for build in (*hostile_json.NESTED.values(), *hostile_json.VALUES.values())]
    texts = [
        b'{"a":[1,-2.5e10,true,false,null,"\\u00e9\\ud83d\\ude00"],"b":{}}',
        b'{"a":1,"a":2}',
        b"[1e400,-0.0,9223372036854775808]",
        b'"\\ud800"',
        b"NaN",
        b"\xef\xbb\xbf{}",
        b"1" * 50,
    ]
    return [*texts, *hostile, *build_specs()[:10]]


def build_specs() -> list[bytes]:
    """Return valid and invalid specs of every job kind, with every member of every union."""
    specs: list[dict[str, Any]] = [yaml.safe_load(path.read_text()) for path in sorted(EXAMPLES.glob("*.yaml"))]
    base = hostile_json.SPEC
    members = {field: [build_member(name) for name in list_names(union)] for field, union in SPEC_UNIONS.items()}
    specs += [base | {field: member} for field, listed in members.items() for member in listed]
    specs += [base | {"callbacks": [member]} for listed in members.values() for member in listed[:3]]
    specs += [
        base | {"dataset": {"name": "digits", "train_transforms": [member]}} for member in members.get("transforms", [])
    ]
    specs += [
        MODEL_JOB | {"kind": kind} for kind in ("evaluate", "predict", "variant", "predict_archive", "lr_find", "no")
    ]
    specs.append(MODEL_JOB | {"kind": "variant", "format": "onnx"})
    specs.append(MODEL_JOB | {"kind": "predict_archive", "archive": "0" * 32})
    return [*map(orjson.dumps, specs), *(build(5) for build in hostile_json.JOBS.values())]


def build_inline_datasets() -> list[bytes]:
    """Return valid and invalid inline datasets."""
    examples = INLINE_BODY["requestBody"]["content"]["application/json"]["examples"].values()
    rows = {"name": "toy", "inputs": [[1, 2.5], [None, 4], [5, 6]], "targets": [1, 2, 3]}
    changes: list[dict[str, Any]] = [
        {"missing": "impute", "columns": ["x", "z"], "target": ["y"]},
        {"targets": ["cat", "dog", "NA"]},
        {"targets": [[1, 2], [3, 4], [5, 6]], "task": "regression"},
        {"targets": None, "target": ["x1"], "window": 1},
        {"inputs": [[[0, 255], [1, 2]]] * 3, "targets": ["a", "b", "a"], "image_size": "8x9", "resize": "crop"},
        {"inputs": [[[[0], [255]], [[1], [2]]]] * 3, "targets": [0, 1, 0], "task": "classification"},
        {"inputs": [[1], [2], [3]], "weight": "x0"},
        {"columns": ["=1+1", "a,b"], "missing": "impute"},
    ]
    return [
        *(orjson.dumps(example["value"]) for example in examples),
        *(orjson.dumps(rows | change) for change in changes),
        *(hostile_json.build_dataset(build(20)) for build in hostile_json.VALUES.values()),
    ]


JSON_TOKENS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"1e999",
    b"-0",
    b"null",
    b"true",
    b"NaN",
)
SPEC_TOKENS = (
    *JSON_TOKENS,
    b'"name":',
    b'"kind":',
    b'"callbacks":[',
    b'"optimizer":{',
    b'"dataset":{',
    b'"class_weights":[',
)
TARGETS = {
    "json_strict": FuzzTarget(parse_strictly, build_documents, mutate_json, JSON_TOKENS),
    "job_spec": FuzzTarget(parse_spec, build_specs, mutate_json, SPEC_TOKENS),
    "json_inline": FuzzTarget(parse_inline, build_inline_datasets, mutate_json, JSON_TOKENS),
}
