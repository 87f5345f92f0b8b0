"""Every operation of /v1 is reachable from the command line, and every command reports errors as JSON."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from candela.cli.app import app, main
from tests.support.openapi_document import DOCUMENT

OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    if path.startswith("/v1/")
    for method, operation in methods.items()
}
EXCEPTIONS = {
    "open_session": "sets the cookie of a browser; the command line sends the API key",
    "close_session": "deletes the cookie of a browser; the command line has none",
    "download_file": "artifacts contain the result files, and `candela download` reads artifacts",
}
UNUSED_PARAMETERS = {
    ("stream_many_events", "after"): "a lost connection continues with the header Last-Event-ID",
    ("show_logs", "after"): "test_jobs.py tests it: `--follow` sends it",
    ("stream_many_events", "topic"): "commands follow the jobs that they are given",
    ("stream_many_events", "sweep"): "excludes `job`; `candela sweeps watch` sends it",
    ("show_metric_grid", "curve"): "replaces `name` and `split`; `candela curves --curve` sends it",
    ("list_jobs", "fields"): "the table needs all fields, and `--json` prints them",
}
JOB, OTHER = "a1" * 16, "b2" * 16
RESPONSE: dict[str, Any] = {
    "id": JOB,
    "name": "pets",
    "state": "succeeded",
    "spec": {"epochs": 1},
    "warnings": [],
    "failure": None,
    "model": None,
    "items": [],
    "series": [],
    "predictions": [],
    "embeddings": [],
    "workers": [],
    "offset": 0,
    "length": 1,
    "version": 1,
    "versions": [{"version": 1}],
    "problem": None,
}
COMMANDS: dict[str, str] = {
    "show_catalog": "catalog",
    "show_system": "system",
    "show_session": "whoami",
    "list_datasets": "datasets --tag a",
    "create_dataset": "datasets create pets.json",
    "show_dataset": "datasets show pets",
    "upload_dataset": "datasets add pets pets.csv --no-wait",
    "delete_dataset": "datasets delete pets --yes",
    "update_dataset": "datasets describe pets --tag a",
    "update_dataset_version": "datasets describe pets --version 1 --tag a",
    "delete_dataset_version": "datasets delete pets 1",
    "show_dataset_version": "datasets show pets 1",
    "compare_dataset_versions": "datasets diff pets 1 2 --base-name cats",
    "edit_dataset_version": "datasets edit pets 1 --drop-blank --no-wait",
    "export_dataset_version": "datasets export pets 1",
    "preview_dataset": "datasets preview pets 1 preview.png",
    "report_dataset": "datasets report pets 1",
    "list_samples": "datasets samples pets 1 --class cat --split train",
    "show_sample_image": "datasets samples pets 1 --images images --size 64",
    "stream_many_events": f"watch {JOB} {OTHER}",
    "list_jobs": "jobs --id a1 --state queued --name a --kind train -q a --tag b --dataset pets --model m "
    f"--sweep {JOB} --sort name",
    "submit_job": "submit job.yaml epochs=2 --dry-run",
    "compare_jobs": f"compare {JOB} {OTHER}",
    "delete_job": f"delete {JOB}",
    "show_job": f"show {JOB}",
    "change_job": f"annotate {JOB} --tag b",
    "list_artifacts": f"artifacts {JOB}",
    "download_artifact": f"download {JOB} a.json",
    "cancel_job": f"cancel {JOB} --force",
    "list_checkpoints": f"checkpoints {JOB}",
    "download_weights": f"jobs weights {JOB} 1",
    "clone_job": f"clone {JOB} epochs=2",
    "stream_events": f"events {JOB}",
    "extend_job": f"extend {JOB} --epochs 2",
    "finish_job": f"finish {JOB}",
    "show_logs": f"logs {JOB} --last 3",
    "show_metrics": f"metrics {JOB} --name loss --split train --since-step 1",
    "pause_job": f"pause {JOB}",
    "predict_with_checkpoint": f"jobs predict {JOB} a.png --checkpoint best --views mirror",
    "resume_job": f"resume {JOB}",
    "register_job": f"jobs register {JOB}",
    "show_usage": f"usage {JOB}",
    "show_job_lineage": f"lineage {JOB}",
    "show_model_lineage": "models lineage cats 1",
    "show_model_card": "models card cats 1",
    "reproduce_job": f"reproduce {JOB} seed=2",
    "reproduce_version": "reproduce cats@1 seed=2",
    "show_metric_grid": f"curves {JOB} {OTHER} --name loss --from 0 --to 9",
    "submit_sweep": "sweep sweep.yaml budget.trials=2 --dry-run",
    "list_sweeps": "sweeps --id a1 --state running --name a -q a",
    "show_sweep": f"sweeps show {JOB}",
    "delete_sweep": f"sweeps delete {JOB} --jobs",
    "list_trials": f"sweeps trials {JOB} --sort score --state failed",
    "add_trial": f"sweeps add-trial {JOB} /optimizer/lr=0.1",
    "show_importance": f"sweeps importance {JOB}",
    "pause_sweep": f"sweeps pause {JOB}",
    "resume_sweep": f"sweeps resume {JOB}",
    "cancel_sweep": f"sweeps cancel {JOB}",
    "finish_sweep": f"sweeps finish {JOB}",
    "extend_sweep": f"sweeps extend {JOB} --trials 9",
    "list_models": "models --tag a",
    "register_model": "models register m convnet --no-wait",
    "show_model": "models show m",
    "list_model_versions": "models versions m --limit 5",
    "update_model": "models describe m --tag a",
    "update_model_version": "models describe m --version 1 --tag a",
    "delete_model": "models delete m --yes",
    "delete_model_version": "models delete m 1",
    "delete_alias": "models delete-alias m champion",
    "set_alias": "models alias m champion 1",
    "show_model_version": "models show m 1",
    "download_bundle": "models bundle m 1",
    "export_model": "models export m 1 onnx",
    "list_variants": "models variants m 1",
    "make_variant": "models create-variant m 1 onnx --no-wait",
    "delete_variant": "models delete-variant m 1 onnx",
    "show_variant": "models variants m 1 --format onnx",
    "download_variant_file": "models export m 1 onnx --file model.onnx",
    "embed": "embed m a.png",
    "explain": "explain m a.png --label cat",
    "predict": "predict m a.png --variant onnx --views mirror",
    "predict_archive": "predict-archive m a.zip --batch-size 2",
    "list_uploads": "datasets uploads",
    "create_upload": "datasets add pets pets.zip --resumable --no-wait",
    "append_upload": "datasets add pets pets.zip --resumable --no-wait",
    "delete_upload": "datasets uploads delete u1",
    "show_upload": "datasets uploads show u1",
}


class RecordingServer:
    """Answers every request with one object, or with a problem, and records the requests."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []
        self.problem: dict[str, Any] | None = None

    def respond(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if self.problem is not None:
            return httpx.Response(self.problem["status"], json=self.problem)
        if request.url.path.endswith("/events"):
            return httpx.Response(204)
        body = RESPONSE
        if request.url.path.endswith("/samples"):
            body = RESPONSE | {"items": [{"split": "train", "index": 0}]}
        if "/uploads" in request.url.path:
            body = RESPONSE | {"version": None}
        if request.url.params.get("dry_run"):
            return httpx.Response(200, json=RESPONSE | {"spec": {}})
        job_id = OTHER if OTHER in request.url.path else JOB
        headers = {"Location": "/v1/uploads/u1", "Upload-Offset": "1", "Upload-Result": "/v1/datasets/pets/versions/1"}
        return httpx.Response(200, json=body | {"id": job_id}, headers=headers)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RecordingServer:
    """A server behind every client of the SDK, and a working directory with the files of the commands."""
    recording = RecordingServer()

    class RecordedClient(httpx.Client):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, transport=httpx.MockTransport(recording.respond))

    monkeypatch.setattr("candela.transport.httpx.Client", RecordedClient)
    monkeypatch.setenv("CANDELA_URL", "http://test")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "a.zip", "pets.zip", "pets.csv"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "pets.json").write_text('{"name": "pets", "inputs": [[1]], "targets": [1]}')
    (tmp_path / "sweep.yaml").write_text("base: {}\n")
    (tmp_path / "job.yaml").write_text("dataset: {name: pets}\n")
    return recording


def run_command(monkeypatch: pytest.MonkeyPatch, arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["candela", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def matches(request: httpx.Request, operation_id: str) -> bool:
    method, path, _ = OPERATIONS[operation_id]
    pattern = re.sub(r"\\{\w+\\}", r"[^/]+", re.escape(path))
    return request.method == method and re.fullmatch(pattern, request.url.path) is not None


def list_commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield " ".join((*path, name)), command
        if hasattr(command, "commands"):
            yield from list_commands(command, (*path, name))


ALL_COMMANDS = dict(list_commands(typer.main.get_command(app)))


def test_every_operation_has_a_command_or_a_reason() -> None:
    assert COMMANDS.keys() | EXCEPTIONS.keys() == OPERATIONS.keys()
    assert not COMMANDS.keys() & EXCEPTIONS.keys()
    assert all(len(reason.split()) >= 4 for reason in (*EXCEPTIONS.values(), *UNUSED_PARAMETERS.values()))


@pytest.mark.parametrize("operation_id", COMMANDS)
def test_a_command_sends_the_request_and_prints_json(
    operation_id: str, server: RecordingServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, f"{COMMANDS[operation_id]} --json") == 0
    found = [request for request in server.seen if matches(request, operation_id)]
    assert found, [(request.method, request.url.path) for request in server.seen]
    query = {each["name"] for each in OPERATIONS[operation_id][2].get("parameters", ()) if each["in"] == "query"}
    used = {name for name in query - {"cursor", "limit"} if (operation_id, name) not in UNUSED_PARAMETERS}
    if operation_id != "upload_dataset":  # `--option KEY=VALUE` sends any parameter
        assert used <= {name for request in found for name in request.url.params}
    if operation_id != "stream_events":  # one line for each event
        json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("operation_id", COMMANDS)
def test_an_error_of_the_server_is_json_on_standard_output(
    operation_id: str, server: RecordingServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.problem = {"type": "/problems/teapot", "title": "Teapot", "status": 418, "detail": "It is a teapot."}
    assert run_command(monkeypatch, f"{COMMANDS[operation_id]} --json") == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == server.problem
    assert printed.err == ""


@pytest.mark.parametrize("path", ALL_COMMANDS)
def test_an_invalid_command_line_is_json_on_standard_output(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, f"{path} --json --no-such-option") == 2
    printed = capsys.readouterr()
    problem = json.loads(printed.out)
    assert (problem["type"], printed.err) == ("usage", "")
    assert "--no-such-option" in problem["detail"]
    assert any("--json" in parameter.opts for parameter in ALL_COMMANDS[path].params)


@pytest.mark.parametrize("path", ["", *ALL_COMMANDS])
def test_help_is_readable_in_80_columns(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_command(monkeypatch, f"{path} --help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) > 5
    assert not [line for line in lines if "…" in line.replace("http://…", "")], "a text is cut"
