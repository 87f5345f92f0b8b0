"""Registrations: defaults of published weights, and what is refused."""

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from app.services.validation.architecture_check import check_architecture
from app.services.validation.context import ResolvedSpec, ValidationContext
from app.services.validation.resolve import resolve
from core.errors import InvalidSpec
from core.spec import RegisterSpec
from tests.support.validation import NETWORKS

FILE: dict[str, Any] = {
    "kind": "register",
    "model": "pets",
    "architecture": {"name": "convnet", "channels": [4], "head": [8]},
    "weights": "file:pets.safetensors",
    "image_shape": [3, 16, 16],
    "classes": ["cat", "dog"],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
}
LITE: dict[str, Any] = {
    "kind": "register",
    "architecture": {"name": "efficientnet_lite0"},
    "weights": "pretrained",
}


def resolve_registration(document: dict[str, Any]) -> ResolvedSpec:
    spec = RegisterSpec.model_validate(document)
    checked = asyncio.run(check_architecture(spec, None, NETWORKS))
    return resolve(ValidationContext(spec, None, frozenset(), checked))


def find_document_errors(document: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidSpec) as raised:
        resolve_registration(document)
    return dict(raised.value.errors)


def test_the_resolved_spec_has_all_options_and_a_name() -> None:
    resolved = resolve_registration(FILE)
    spec = resolved.spec
    assert isinstance(spec, RegisterSpec)
    assert spec.architecture.options["kernel"] == 3
    assert (spec.model, spec.image_shape) == ("pets", (3, 16, 16))
    assert (spec.name or "").startswith("register-convnet-")
    assert (resolved.output_shape, resolved.num_parameters > 0) == ((2,), True)


def test_published_weights_have_a_shape_and_a_number_of_classes() -> None:
    resolved = resolve_registration(LITE)
    assert isinstance(resolved.spec, RegisterSpec)
    assert (resolved.spec.image_shape, resolved.spec.classes, resolved.output_shape) == ((3, 224, 224), None, (1000,))


@pytest.mark.parametrize(
    ("document", "pointer", "reason"),
    [
        (FILE | {"weights": "pretrained"}, "/weights", "'convnet' has no pretrained weights; use 'efficientnet_lite0'"),
        (FILE | {"mean": [0.5]}, "/mean", "must have 3 values, one per channel; got 1"),
        (FILE | {"std": [0.5] * 4}, "/std", "must have 3 values, one per channel; got 4"),
        (FILE | {"architecture": {"name": "convnt"}}, "/architecture/name", "convnet"),
        (FILE | {"architecture": {"name": "convnet", "channels": []}}, "/architecture/channels", ""),
        (FILE | {"architecture": {"name": "tabular"}}, "/architecture/name", "requires rows of a table"),
        (LITE | {"classes": ["a", "b"]}, "/classes", "must have 1000 names, one per output of the published weights"),
    ],
)
def test_an_invalid_registration_names_the_field(document: dict[str, Any], pointer: str, reason: str) -> None:
    errors = find_document_errors(document)
    assert reason in errors[pointer]


def test_each_missing_field_is_named() -> None:
    document = {key: FILE[key] for key in ("kind", "architecture", "weights")}
    assert set(find_document_errors(document)) == {"/image_shape", "/classes", "/mean", "/std"}


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["cat", "cat"]},
        {"classes": ["cat"]},
        {"image_shape": [3, 0, 8]},
        {"image_shape": [3, 8]},
        {"image_shape": [3, 8, 2049]},
        {"classes": [str(number) for number in range(65_537)]},
        {"image_shape": [5, 8, 8]},
        {"std": [0.0, 1.0, 1.0]},
        {"weights": "file:../secret.safetensors"},
        {"weights": "file:model.pt"},
        {"resize": "pad "},
    ],
)
def test_values_out_of_bounds_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RegisterSpec.model_validate(FILE | changes)
