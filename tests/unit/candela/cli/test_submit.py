"""`candela submit` with changes, dry runs and failed jobs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

JobAnswer = Callable[..., dict[str, Any]]
Run = Callable[..., tuple[int, str, str]]
JOB = "a1" * 16
DRY_RUN = {
    "spec": {"dataset": {"name": "digits"}, "optimizer": {"name": "adam", "lr": 0.001}, "epochs": 3},
    "num_parameters": 10,
    "output_shape": [10],
    "steps_per_epoch": 7,
    "warnings": ["Look here."],
}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text("dataset: {name: digits}\nepochs: 3\ncallbacks: [{name: early_stopping}]\n")
    return path


def test_changes_are_submitted(server: Any, run: Run, spec: Path, job_answer: JobAnswer) -> None:
    server.json("POST /v1/jobs", job_answer(), 202)
    assert run("submit", spec, "epochs=5", "callbacks.0.patience=3", "--json")[0] == 0
    assert server.seen[0].json() == {
        "dataset": {"name": "digits"},
        "epochs": 5,
        "callbacks": [{"name": "early_stopping", "patience": 3}],
    }
    assert len(server.seen) == 1


def test_an_option_of_a_default_is_changed(server: Any, run: Run, spec: Path, job_answer: JobAnswer) -> None:
    server.json("POST /v1/jobs", DRY_RUN)
    server.json("POST /v1/jobs", job_answer(), 202)
    assert run("submit", spec, "optimizer.lr=0.5", "epochs=5")[0] == 0
    assert server.seen[0].query == {"dry_run": "true"}
    assert server.seen[0].json()["epochs"] == 5
    assert server.seen[1].json()["optimizer"] == {"name": "adam", "lr": 0.5}


def test_an_unknown_field_is_left_to_the_server(server: Any, run: Run, spec: Path) -> None:
    server.json("POST /v1/jobs", DRY_RUN)
    errors = [{"pointer": "/optimiser", "detail": "unknown field; did you mean 'optimizer'?"}]
    detail = "/optimiser: unknown field; did you mean 'optimizer'?"
    server.problem("POST /v1/jobs", 422, "invalid-request", errors=errors, detail=detail)
    status, printed, errors_text = run("submit", spec, "optimiser.lr=0.5")
    assert (status, printed) == (1, "")
    assert errors_text == f"candela: {detail} (422 invalid-request)\n"  # once


def test_a_dry_run_prints_a_spec_that_can_be_submitted(server: Any, run: Run, spec: Path) -> None:
    server.json("POST /v1/jobs", DRY_RUN)
    status, printed, facts = run("submit", spec, "--dry-run")
    assert (status, yaml.safe_load(printed)) == (0, DRY_RUN["spec"])
    assert facts.splitlines() == [
        "valid: 10 parameters, output 10, 7 steps per epoch",
        "warning: Look here.",
    ]
    assert server.seen[0].query == {"dry_run": "true"}
    assert json.loads(run("submit", spec, "--dry-run", "--json")[1]) == DRY_RUN


@pytest.mark.parametrize("as_json", [False, True])
def test_the_failure_of_a_watched_job_is_printed_once(
    server: Any, run: Run, spec: Path, job_answer: JobAnswer, as_json: bool
) -> None:
    failure = {"code": "diverged", "message": "The loss is NaN.", "hint": "Lower it.", "retryable": False}
    server.json("POST /v1/jobs", job_answer(), 202)
    server.stream(f"GET /v1/jobs/{JOB}/events", 'id: 9\nevent: end\ndata: {"payload": {"state": "failed"}}\n\n')
    server.json(f"GET /v1/jobs/{JOB}", job_answer(state="failed", failure=failure))
    status, printed, errors = run("submit", spec, "--watch", *(["--json"] if as_json else []))
    assert status == 1
    assert (printed + errors).count("The loss is NaN.") == 1
    if as_json:
        assert json.loads(printed)["failure"] == failure


def test_a_clone_sends_only_the_changes(server: Any, run: Run, job_answer: JobAnswer) -> None:
    spec = {"epochs": 3, "optimizer": {"name": "adam", "lr": 0.1, "eps": 1e-8}, "callbacks": [{"name": "ema"}]}
    server.json(f"GET /v1/jobs/{JOB}", job_answer(spec=spec))
    server.json(f"POST /v1/jobs/{JOB}/clone", job_answer(id="b2" * 16), 202)
    status, printed, _ = run("clone", JOB, "optimizer.lr=0.2", "callbacks.0.decay=0.9")
    assert (status, printed) == (0, f"{'b2' * 16} queued\n")
    assert server.seen[-1].json() == {"optimizer": {"lr": 0.2}, "callbacks": [{"name": "ema", "decay": 0.9}]}
