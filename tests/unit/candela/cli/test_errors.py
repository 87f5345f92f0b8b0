"""Errors of commands as text and as JSON."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from candela.cli.errors import describe_error, exit_with_error, format_error, wants_json
from candela.cli.job_lookup import AmbiguousReference
from candela.errors import CandelaError, JobFailed, Unreachable, UnusableFile, WatchInterrupted, problem_error

Run = Callable[..., tuple[int, str, str]]
PROBLEM = {"type": "/problems/not-found", "title": "Not found", "status": 404, "detail": "Nothing.", "facts": {"a": 1}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["jobs", "--json"], True),
        (["--json"], True),
        (["jobs"], False),
        (["show", "--", "--json"], False),
        (["jobs", "--jsonx"], False),
    ],
)
def test_json_is_requested_by_its_option(arguments: list[str], expected: bool) -> None:
    assert wants_json(arguments) == expected


def test_a_problem_is_the_json_of_the_server() -> None:
    assert describe_error(problem_error(404, PROBLEM)) == PROBLEM
    page = problem_error(502, {"title": "Bad Gateway", "detail": "<html>"})
    assert describe_error(page) == {"type": "about:blank", "title": "Bad Gateway", "status": 502, "detail": "<html>"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Unreachable("no connection"), "unreachable"),
        (JobFailed("a1", "failed", {"message": "It broke."}), "job-failed"),
        (AmbiguousReference("a", "job", []), "ambiguous-job"),
        (WatchInterrupted("stopped watching"), "interrupted"),
        (TimeoutError("still importing"), "timeout"),
        (FileNotFoundError(2, "No such file", "x.png"), "file"),
        (UnusableFile("x.yaml: No such file or directory"), "file"),
        (CandelaError("it failed"), "failed"),
    ],
)
def test_every_error_has_a_type_a_title_and_a_detail(error: Exception, kind: str) -> None:
    described = describe_error(error)
    assert described["type"] == kind
    assert described["title"]
    assert described["detail"] == format_error(error)


@pytest.mark.parametrize("as_json", [False, True])
def test_credentials_are_not_printed(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_with_error(Unreachable("cannot connect to http://me:secret@host"), as_json=as_json)
    printed = capsys.readouterr()
    text = printed.out if as_json else printed.err
    assert (caught.value.code, printed.err if as_json else printed.out) == (1, "")
    assert "secret" not in text
    assert "http://me:***@host" in text


def test_an_error_of_the_command_line_is_printed_once(run: Run) -> None:
    status, printed, errors = run("jobs", "--limit", "x")
    assert (status, printed) == (2, "")
    assert errors.count("is not an integer") == 1
    status, printed, errors = run("jobs", "--limit", "x", "--json")
    assert (status, errors) == (2, "")
    assert "'--limit'" in json.loads(printed)["detail"]


def test_an_unreadable_file_is_named(run: Run, tmp_path: Path) -> None:
    status, printed, _ = run("submit", tmp_path / "missing.yaml", "--json")
    assert (status, "missing.yaml" in json.loads(printed)["detail"]) == (1, True)


def test_the_key_is_read_from_a_file(server: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_API_KEY", "another")
    monkeypatch.setenv("CANDELA_URL", "http://127.0.0.1:1")
    (tmp_path / "key").write_text(" my-key\n")
    server.json("GET /v1/session", {"authentication": "key", "key_id": "1f2e3d4c"})
    status, printed, _ = run("--url", server.url, "--key-file", tmp_path / "key", "whoami")
    assert (status, printed) == (0, f"{server.url} accepts the API key 1f2e3d4c (start of its SHA-256)\n")
    assert server.seen[0].headers["authorization"] == "Bearer my-key"
    (tmp_path / "key").write_text("\n")
    assert run("--key-file", tmp_path / "key", "whoami")[0] == 1


def test_the_version_is_printed(run: Run) -> None:
    from candela.version import __version__

    assert run("--version") == (0, f"candela {__version__}\n", "")
    assert sys.argv == ["candela", "--version"]


@pytest.mark.parametrize(
    "arguments",
    ["submit missing.yaml", "sweep missing.yaml", "datasets add pets missing.zip", "--key-file missing jobs"],
)
def test_a_missing_file_has_the_type_of_files(run: Run, arguments: str) -> None:
    status, printed, _ = run(*arguments.split(), "--json")
    problem = json.loads(printed)
    assert (status, problem["type"]) == (1, "file")
    assert "missing" in problem["detail"]
