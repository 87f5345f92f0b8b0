"""The synchronous SDK is generated from the asynchronous one, so that both have the same operations."""

import inspect
from pathlib import Path
from typing import Any

import pytest

import generate_sync_sdk
from candela import AsyncClient, Client
from candela.aio.jobs import AsyncJob
from candela.jobs import Job


@pytest.mark.parametrize("source", generate_sync_sdk.list_sources(), ids=lambda source: source.stem)
def test_a_generated_module_is_up_to_date(source: Path) -> None:
    text = generate_sync_sdk.get_target(source).read_text(encoding="utf-8")
    assert text == generate_sync_sdk.generate_module(source), "run `make sdk`, and edit only the files in candela/aio"


@pytest.mark.parametrize("source", generate_sync_sdk.list_sources(), ids=lambda source: source.stem)
def test_a_generated_module_has_no_asynchronous_code(source: Path) -> None:
    text = generate_sync_sdk.get_target(source).read_text(encoding="utf-8")
    code = text.split("\n", 1)[1]  # without the line that names the source
    assert not [word for word in ("async", "await", "Async", "aiter", "aclos", "anyio", "candela.aio") if word in code]


def list_methods(owner: type) -> dict[str, inspect.Signature]:
    members = inspect.getmembers(owner, inspect.isfunction)
    return {name: inspect.signature(member) for name, member in members if not name.startswith("_")}


def list_parameters(signature: inspect.Signature) -> list[tuple[str, Any, Any]]:
    return [(parameter.name, parameter.kind, parameter.default) for parameter in signature.parameters.values()]


def list_classes() -> list[tuple[type, type]]:
    clients = Client("http://127.0.0.1:1"), AsyncClient("http://127.0.0.1:1")
    parts = [[type(client), *map(type, vars(client).values())] for client in clients]
    return [*zip(*parts, strict=True), (Job, AsyncJob)]


@pytest.mark.parametrize(("sync", "asynchronous"), list_classes(), ids=lambda owner: owner.__name__)
def test_both_clients_have_the_same_methods_and_parameters(sync: type, asynchronous: type) -> None:
    methods, expected = list_methods(asynchronous), list_methods(sync)
    assert methods.keys() == expected.keys()
    for name, signature in methods.items():
        assert list_parameters(signature) == list_parameters(expected[name]), name
