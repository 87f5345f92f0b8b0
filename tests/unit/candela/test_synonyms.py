"""Words of other tools, and the commands and methods that they mean."""

import pytest

from candela import AsyncClient, Client
from candela.jobs import Job
from candela.synonyms import ROOT, SYNONYMS, suggest_paths

NAMES = {
    ROOT: ["jobs", "submit", "sweep", "show", "delete", "up", "--version"],
    "jobs": ["list", "show", "submit", "delete"],
    "models": ["list", "show", "delete", "create-variant", "export"],
    "datasets": ["list", "show", "add", "delete", "export"],
    "datasets uploads": ["list", "delete"],
    "sweeps": ["list", "show", "trials"],
}


@pytest.mark.parametrize(
    ("place", "word", "next_word", "expected"),
    [
        (ROOT, "train", "", ["submit"]),
        (ROOT, "ls", "", ["jobs"]),
        (ROOT, "ls", "models", ["models list"]),
        (ROOT, "rm", "model", ["models delete"]),
        (ROOT, "upload-dataset", "", ["datasets add"]),
        (ROOT, "list_models", "", ["models list"]),
        (ROOT, "export", "", ["models export", "datasets export"]),
        (ROOT, "version", "", ["--version"]),
        (ROOT, "start", "", ["submit", "up"]),
        ("datasets", "upload", "NAME", ["datasets add"]),
        ("datasets", "submit", "", ["submit"]),
        ("datasets uploads", "rm", "", ["datasets uploads delete"]),
        ("models", "quantize", "", ["models create-variant"]),
        ("models", "trials", "", ["sweeps trials"]),
        ("sweeps", "create", "", ["sweep"]),
        ("jobs", "create", "", ["jobs submit"]),
        (ROOT, "nonsense", "", []),
        (ROOT, "", "", []),
    ],
)
def test_a_word_of_another_tool_has_suggestions(place: str, word: str, next_word: str, expected: list[str]) -> None:
    found = suggest_paths(word, place, NAMES, next_word=next_word)
    assert [f"{group} {name}".strip() for group, name in found] == expected


@pytest.mark.parametrize("client_class", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("path", "suggestion"),
    [
        ("train", "did you mean 'jobs.submit'?"),
        ("list_models", "did you mean 'models.list'?"),
        ("upload_dataset", "did you mean 'datasets.add'?"),
        ("ping", "did you mean 'is_ready'?"),
        ("jobs.create", "did you mean 'submit'?"),
        ("datasets.upload", "did you mean 'add'?"),
        ("models.remove", "did you mean 'delete'?"),
        ("sweeps.submit", "did you mean 'create'?"),
        ("uploads.show", "did you mean 'get'?"),
        ("nonsense", "has no attribute 'nonsense'"),
    ],
)
def test_an_unknown_method_of_the_client_has_a_suggestion(client_class: type, path: str, suggestion: str) -> None:
    *resources, name = path.split(".")
    owner = client_class("http://127.0.0.1:1")
    for resource in resources:
        owner = getattr(owner, resource)
    assert not hasattr(owner, name)
    with pytest.raises(AttributeError) as error:
        getattr(owner, name)
    assert str(error.value).endswith(suggestion)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("status", "did you mean 'state'?"),
        ("stop", "did you mean 'cancel'?"),
        ("created_at", "it is in response['created_at']"),
        ("_private", "has no attribute '_private'"),
    ],
)
def test_an_unknown_attribute_of_a_job_has_a_suggestion(name: str, suggestion: str) -> None:
    job = Job(Client("http://127.0.0.1:1")._transport, {"id": "1", "created_at": "2026-01-01"})  # type: ignore[typeddict-item]
    with pytest.raises(AttributeError) as error:
        getattr(job, name)
    assert str(error.value).endswith(suggestion)


def test_an_object_without_attributes_has_no_endless_recursion() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'response'"):
        _ = Job.__new__(Job).response


def test_no_word_of_the_table_is_its_own_synonym() -> None:
    assert not [name for name, words in SYNONYMS.items() if name in words.split()]
