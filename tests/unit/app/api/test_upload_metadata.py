"""Parsing of `Upload-Metadata`."""

import base64
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError

from app.api.upload_metadata import MAX_METADATA_KEYS, parse_metadata, parse_target
from app.problems import InvalidJson
from tests.support.uploads import encode_metadata


def test_values_are_decoded() -> None:
    assert parse_metadata("") == {}
    assert parse_metadata(encode_metadata(dataset="pets", filename="ü.zip")) == {"dataset": "pets", "filename": "ü.zip"}
    assert parse_metadata("a YQ,b Pz8_") == {"a": "a", "b": "???"}
    assert parse_metadata("a YQ== ,\tis_confidential,b  Yg==") == {"a": "a", "is_confidential": "", "b": "b"}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (",", "has the key ''"),
        ("a YQ==,,b Yg==", "has the key ''"),
        ("a YQ==,a YQ==", "twice"),
        ("ä YQ==", "keys are ASCII"),
        ("a\tYQ==", "keys are ASCII"),
        (f"{'k' * 65} YQ==", "keys are ASCII"),
        ("a Y", "must be the base64"),
        ("a Y Q==", "must be the base64"),
        ("a YQ==x", "must be the base64"),
        ("a -_-_", "must be the base64"),
        ("a /w==", "must be the base64 of a UTF-8 text"),
        ("a 7aCA", "must be the base64 of a UTF-8 text"),
        ("a \u0661\u0661\u0661\u0661", "must be the base64"),
        (",".join(f"k{number} YQ==" for number in range(MAX_METADATA_KEYS + 1)), "at most 64"),
    ],
)
def test_malformed_metadata_is_rejected(header: str, reason: str) -> None:
    with pytest.raises(InvalidJson, match=reason) as caught:
        parse_metadata(header)
    assert caught.value.status_code == 422
    assert caught.value.pointer.startswith("Upload-Metadata")
    assert len(caught.value.detail) < 300


def test_options_have_the_types_of_query_parameters() -> None:
    header = encode_metadata(
        dataset="pets",
        filename="pets.csv",
        filetype="Text/CSV; charset=utf-8",
        target='["kind", "size"]',
        columns="age",
        window="5",
        valid_share="0.25",
        missing="impute",
        name="pets.csv",
        type="text/csv",
        relativePath="",
    )
    assert parse_target(header) == (
        "pets",
        {
            "target": ["kind", "size"],
            "columns": ["age"],
            "window": 5,
            "valid_share": 0.25,
            "missing": "impute",
            "is_table": True,
        },
    )
    assert parse_target(encode_metadata(dataset="pets", filetype="application/zip")).options == {"is_table": False}


@pytest.mark.parametrize("name", ["", "../x", "a/b", "Pets!", "x" * 64, "a\0", "pets\n"])
def test_an_invalid_dataset_name_is_rejected(name: str) -> None:
    with pytest.raises(InvalidJson, match="must be 1 to 63 lower-case letters"):
        parse_target(encode_metadata(dataset=name))


def test_a_missing_dataset_and_an_unknown_key_are_rejected() -> None:
    with pytest.raises(InvalidJson, match="is missing"):
        parse_target(encode_metadata(filename="pets.zip"))
    with pytest.raises(InvalidJson, match="did you mean 'target'"):
        parse_target(encode_metadata(dataset="pets", targets="kind"))


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"window": "0"}, "window"),
        ({"window": "+5"}, "window"),
        ({"window": "5.0"}, "window"),
        ({"window": "9" * 25}, "window"),
        ({"valid_share": "nan"}, "valid_share"),
        ({"valid_share": "1"}, "valid_share"),
        ({"valid_share": "1e400"}, "valid_share"),
        ({"image_size": "0"}, "image_size"),
        ({"image_size": ""}, "image_size"),
        ({"resize": "zoom"}, "resize"),
        ({"target": "[1, 2]"}, "target"),
        ({"target": "[[]]"}, "target"),
        ({"target": '[{"a": 1}]'}, "target"),
        ({"horizon": "2"}, "window"),
        ({"delimiter": "ab"}, "delimiter"),
    ],
)
def test_an_invalid_option_names_its_key(options: dict[str, str], key: str) -> None:
    with pytest.raises(RequestValidationError) as caught:
        parse_target(encode_metadata(dataset="pets", **options))
    locations: list[Any] = [error["loc"] for error in caught.value.errors()]
    assert {location[0] for location in locations} == {"header"}
    assert f"Upload-Metadata/{key}" in {location[1] for location in locations}


@pytest.mark.parametrize("text", ["[", "[1", "[" * 15_000, '["a"] x', "[NaN"])
def test_a_broken_array_is_rejected(text: str) -> None:
    header = f"dataset cGV0cw==,target {base64.b64encode(text.encode()).decode()}"
    with pytest.raises(InvalidJson, match="JSON array"):
        parse_target(header)
