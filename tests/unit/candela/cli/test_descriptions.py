"""Models, versions, aliases and datasets are deleted and described on the command line."""

import io
import json
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from candela.cli.app import app, main
from candela.errors import Conflict

KINDS = {"models": "/v1/models/pets", "datasets": "/v1/datasets/pets"}


@pytest.fixture(autouse=True)
def url(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_URL", server.url)


def run(*arguments: str, answer: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, input=answer)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_is_deleted_at_once(server: Any, kind: str) -> None:
    server.text(f"DELETE {KINDS[kind]}/versions/2", "", 204)
    assert run(kind, "delete", "pets", "2") == (0, "deleted pets version 2\n")
    assert [seen.method for seen in server.seen] == ["DELETE"]


@pytest.mark.parametrize("kind", KINDS)
def test_all_versions_are_deleted_after_a_confirmation(server: Any, kind: str) -> None:
    server.json(f"GET {KINDS[kind]}", {"versions": [{}, {}]})
    server.text(f"DELETE {KINDS[kind]}", "", 204)
    status, printed = run(kind, "delete", "pets", answer="n\n")
    assert status == 1
    assert "Delete pets with 2 versions?" in printed
    assert [seen.method for seen in server.seen] == ["GET"]
    assert run(kind, "delete", "pets", answer="y\n")[1].endswith("deleted pets\n")
    assert run(kind, "delete", "pets", "--yes") == (0, "deleted pets\n")
    assert [seen.method for seen in server.seen] == ["GET", "GET", "DELETE", "DELETE"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_question_is_not_in_the_json_document(
    server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    server.json(f"GET {KINDS[kind]}", {"versions": [{}]})
    server.text(f"DELETE {KINDS[kind]}", "", 204)
    monkeypatch.setattr(sys, "argv", ["candela", kind, "delete", "pets", "--json"])
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"deleted": {"name": "pets", "version": None}}
    assert printed.err.startswith("Delete pets with 1 version?")


def test_dependents_are_listed(server: Any) -> None:
    facts = {"dependents": ["pets@champion"], "kind": "alias"}
    server.problem("DELETE /v1/models/pets/versions/1", 409, "in-use", facts=facts)
    with pytest.raises(Conflict, match=r"It is in-use\. \(409 in-use\)\n  used by: pets@champion$"):
        run("models", "delete", "pets", "1")


def test_an_alias_is_deleted(server: Any) -> None:
    server.text("DELETE /v1/models/pets/aliases/champion", "", 204)
    assert run("models", "delete-alias", "pets", "champion") == (0, "deleted pets@champion\n")


@pytest.mark.parametrize("kind", KINDS)
def test_a_description_and_tags_are_set(server: Any, kind: str) -> None:
    for path in (KINDS[kind], f"{KINDS[kind]}/versions/3"):
        server.json(f"PATCH {path}", {"description": "Best.", "tags": ["a", "b"]})
    assert run(kind, "describe", "pets", "-d", "Best.", "-t", "a", "-t", "b") == (0, "Best.\ntags: a, b\n")
    run(kind, "describe", "pets", "--version", "3", "-d", "", "-t", "")
    assert [seen.json() for seen in server.seen] == [
        {"description": "Best.", "tags": ["a", "b"]},
        {"description": None, "tags": []},
    ]
    assert server.seen[1].path == f"{KINDS[kind]}/versions/3"
    assert run(kind, "describe", "pets")[0] == 2
