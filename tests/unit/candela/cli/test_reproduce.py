"""`candela reproduce`: what its argument refers to, and the verdict that it prints."""

from collections.abc import Callable
from typing import Any

import pytest

JobAnswer = Callable[..., dict[str, Any]]
Run = Callable[..., tuple[int, str, str]]
JOB = "a1" * 16
MODEL = {"name": "digits", "versions": [{"version": 4}], "aliases": {"champion": 2}}
RESULT: dict[str, Any] = {
    "verdict": "different",
    "sha256": "b" * 64,
    "original": {"job": JOB, "model": "digits@2", "sha256": "a" * 64},
    "changes": [{"pointer": "/seed", "original": 1, "reproduced": 2}],
    "first_difference": {"step": 6, "epoch": 1, "original": 2.5, "reproduced": 2.25, "last_equal_step": 4},
    "environment": [{"field": "torch", "original": "2.8", "reproduced": "2.9"}],
    "compared": {"num_losses": 40, "num_epoch_metrics": 8},
}


@pytest.mark.parametrize(
    ("ref", "version"), [("digits@3", 3), ("digits@champion", 2), ("digits@latest", 4), ("digits", 4)]
)
def test_a_reference_to_a_model(server: Any, run: Run, job_answer: JobAnswer, ref: str, version: int) -> None:
    path = f"/v1/models/digits/versions/{version}"
    server.json("GET /v1/jobs", {"items": [], "next_cursor": None})
    server.json("GET /v1/models/digits", MODEL)
    server.json(f"POST {path}/reproduce", {"spec": {"seed": 1, "epochs": 3}})
    server.json(f"POST {path}/reproduce", job_answer(), 202)
    assert run("reproduce", ref, "seed=2")[0] == 0
    assert server.seen[-1].json() == {"changes": {"seed": 2}}
    assert run("reproduce", ref)[1] == f"{JOB} queued\n"
    assert server.seen[-1].json() == {"changes": {}}


def test_a_reference_to_a_job(server: Any, run: Run, job_answer: JobAnswer) -> None:
    server.json(f"GET /v1/jobs/{JOB}", job_answer(spec={"seed": 1}))
    server.json(f"POST /v1/jobs/{JOB}/reproduce", {"spec": {"seed": 1}})
    server.json(f"POST /v1/jobs/{JOB}/reproduce", job_answer(), 202)
    assert run("reproduce", JOB, "seed=2")[0] == 0
    assert [(seen.method, seen.path, seen.query) for seen in server.seen] == [
        ("GET", f"/v1/jobs/{JOB}", {}),
        ("POST", f"/v1/jobs/{JOB}/reproduce", {"dry_run": "true"}),
        ("POST", f"/v1/jobs/{JOB}/reproduce", {}),
    ]


def test_overrides_change_the_spec_that_the_server_submits(server: Any, run: Run, job_answer: JobAnswer) -> None:
    stop, limit = {"name": "early_stopping", "patience": 5}, {"name": "time_limit", "seconds": 60}
    server.json(f"GET /v1/jobs/{JOB}", job_answer(spec={"threads": "auto", "callbacks": [limit, stop]}))
    server.json(f"POST /v1/jobs/{JOB}/reproduce", {"spec": {"threads": 2, "callbacks": [stop]}})
    server.json(f"POST /v1/jobs/{JOB}/reproduce", job_answer(), 202)
    assert run("reproduce", JOB, "threads=auto", "callbacks.0.patience=9")[0] == 0
    assert server.seen[-1].json() == {"changes": {"threads": "auto", "callbacks": [stop | {"patience": 9}]}}


def test_a_name_alone_is_the_version_of_the_alias_default(server: Any, run: Run, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs", {"items": [], "next_cursor": None})
    server.json("GET /v1/models/digits", MODEL | {"aliases": {"default": 3}})
    server.json("POST /v1/models/digits/versions/3/reproduce", job_answer(), 202)
    assert run("reproduce", "digits") == (0, f"{JOB} queued\n", "")


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        ("nothing", "no job and no model is called 'nothing'"),
        ("nothing@2x", "no model is called 'nothing'"),
        ("digits@gold", "model 'digits' has no alias 'gold'; it has champion"),
    ],
)
def test_a_reference_to_nothing(server: Any, run: Run, ref: str, error: str) -> None:
    server.json("GET /v1/jobs", {"items": [], "next_cursor": None})
    server.json("GET /v1/models/digits", MODEL)
    server.problem("GET /v1/models/nothing", 404, "not-found")
    assert run("reproduce", ref) == (1, "", f"candela: {error}\n")


@pytest.mark.parametrize(("verdict", "status"), [("identical", 0), ("equal_metrics", 0), ("different", 1)])
def test_a_watched_reproduction_prints_its_verdict(
    server: Any, run: Run, job_answer: JobAnswer, verdict: str, status: int
) -> None:
    ended = job_answer(kind="reproduce", state="succeeded", result=RESULT | {"verdict": verdict})
    server.json("POST /v1/models/digits/versions/2/reproduce", job_answer(kind="reproduce"), 202)
    server.stream(f"GET /v1/jobs/{JOB}/events", 'id: 9\nevent: end\ndata: {"payload": {"state": "succeeded"}}\n\n')
    server.json(f"GET /v1/jobs/{JOB}", ended)
    code, printed, _ = run("reproduce", "digits@2", "--watch")
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert code == status
    assert any(line.startswith(f"verdict {verdict} ") for line in lines)
    for line in (
        f"original {'a' * 64} digits@2",
        f"this job {'b' * 64}",
        "changed /seed: 2 instead of 1",
        "step 6, the first recorded one with another loss: 2.25 instead of 2.5",
        "differs torch: 2.9 instead of 2.8",
        "compared weights, 40 losses and 8 metrics of epochs",
    ):
        assert line in lines
