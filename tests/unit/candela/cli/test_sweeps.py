"""`candela sweep` and `candela sweeps`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.sweep_responses import (
    SWEEP_ID,
    build_sweep_details,
    build_sweep_response,
    build_trial_response,
    format_sweep_event,
)

Run = Callable[..., tuple[int, str, str]]
PATH = f"/v1/sweeps/{SWEEP_ID}"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text("base: {dataset: digits, epochs: 3}\nspace:\n  /optimizer/lr: {low: 1e-3, high: 0.1}\n")
    return path


def test_changes_are_submitted(server: Any, run: Run, spec: Path) -> None:
    server.json("POST /v1/sweeps", build_sweep_response(), 202)
    status, out, _ = run("sweep", spec, "budget.trials=5", "base.epochs=9", "space./optimizer/lr.low=0.01")
    assert (status, out) == (0, f"{SWEEP_ID} running\n")
    assert server.seen[0].json() == {
        "base": {"dataset": "digits", "epochs": 9},
        "space": {"/optimizer/lr": {"low": 0.01, "high": 0.1}},
        "budget": {"trials": 5},
    }


def test_a_dry_run_prints_the_trials(server: Any, run: Run, spec: Path) -> None:
    trials = [{"number": 0, "parameters": {"/optimizer/lr": 0.1}, "errors": []}]
    estimate = {"trials": 60, "epochs": None, "hours": None, "disk_bytes": None}
    server.json("POST /v1/sweeps", {"spec": {}, "trials": trials, "estimate": estimate})
    status, out, _ = run("sweep", spec, "--dry-run")
    assert (status, out.splitlines()) == (0, ["trial 0: lr=0.1", "valid: 60 trials"])
    assert server.seen[0].query == {"dry_run": "true"}


@pytest.mark.parametrize(("state", "expected"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_the_status_is_that_of_the_watched_sweep(server: Any, run: Run, spec: Path, state: str, expected: int) -> None:
    server.json("POST /v1/sweeps", build_sweep_response(), 202)
    server.stream("GET /v1/events", format_sweep_event("a", state=state))
    server.json(f"GET {PATH}", build_sweep_details(state=state))
    status, out, _ = run("sweep", spec, "--watch", "--json")
    assert status == expected
    assert json.loads(out)["state"] == state


def test_a_sweep_is_found_by_its_name(server: Any, run: Run) -> None:
    server.json("GET /v1/sweeps", {"items": [build_sweep_response()], "next_cursor": None})
    server.json(f"POST {PATH}/pause", build_sweep_response(state="paused"), 202)
    status, out, _ = run("sweeps", "pause", "digits-lr")
    assert (status, out) == (0, f"{SWEEP_ID} paused\n")
    assert server.seen[0].query["name"] == "digits-lr"


def test_parameters_of_a_trial_are_values_of_yaml(server: Any, run: Run) -> None:
    server.json(f"POST {PATH}/trials", build_trial_response(12), 202)
    status, out, _ = run("sweeps", "add-trial", SWEEP_ID, "/optimizer/lr=1e-3", "/architecture/channels=[16, 32]")
    assert status == 0
    assert "12" in out
    assert server.seen[0].json() == {"parameters": {"/optimizer/lr": 0.001, "/architecture/channels": [16, 32]}}
    status, _, err = run("sweeps", "add-trial", SWEEP_ID, "optimizer.lr=1")
    assert status == 2
    assert "POINTER=VALUE" in err


def test_an_extension_needs_a_limit(server: Any, run: Run) -> None:
    server.json(f"POST {PATH}/extend", build_sweep_response(), 202)
    assert run("sweeps", "extend", SWEEP_ID, "--hours", "2.5")[0] == 0
    assert server.seen[0].json() == {"hours": 2.5}
    assert run("sweeps", "extend", SWEEP_ID)[0] == 2
    assert len(server.seen) == 1


def test_a_deleted_sweep_is_named(server: Any, run: Run) -> None:
    server.text(f"DELETE {PATH}", "", 204)
    assert run("sweeps", "delete", SWEEP_ID)[1] == f"deleted sweep {SWEEP_ID}\n"


@pytest.mark.parametrize("ref", ["5a", "latest", "search"])
def test_the_jobs_of_a_sweep_are_listed_by_any_reference_to_it(server: Any, run: Run, ref: str) -> None:
    sweep_id = "5a" * 16
    server.json(
        "GET /v1/sweeps", {"items": [{"id": sweep_id, "name": "search", "state": "running"}], "next_cursor": None}
    )
    server.json("GET /v1/jobs", {"items": [], "next_cursor": None})
    assert run("jobs", "--sweep", ref)[0] == 0
    assert server.seen[-1].query["sweep"] == sweep_id
