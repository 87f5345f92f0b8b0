"""Commands that list, annotate and compare jobs."""

from collections.abc import Callable
from typing import Any

JobAnswer = Callable[..., dict[str, Any]]
JOB, OTHER = "a1" * 16, "b2" * 16
Run = Callable[..., tuple[int, str, str]]


def test_jobs_are_listed_with_filters_and_an_order(server: Any, run: Run, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs", {"items": [job_answer()], "next_cursor": None})
    options = ("--search", "lr", "--tag", "a", "--dataset", "digits@2", "--model", "m", "--sort", "-duration")
    assert run("jobs", *options)[0] == 0
    assert server.seen[-1].query == {
        "q": "lr",
        "tag": "a",
        "dataset": "digits@2",
        "model": "m",
        "sort": "-duration",
        "limit": "20",
    }


def test_tags_and_notes_are_set(server: Any, run: Run, job_answer: JobAnswer) -> None:
    server.json(f"GET /v1/jobs/{JOB}", job_answer(tags=[]))
    server.json(f"PATCH /v1/jobs/{JOB}", job_answer(tags=["a", "b"]))
    assert run("annotate", JOB, "--tag", "a", "--tag", "b", "--note", "")[:2] == (0, f"{JOB} a b\n")
    assert [seen.json() for seen in server.seen if seen.method == "PATCH"] == [{"tags": ["a", "b"]}, {"note": None}]
    run("annotate", JOB, "--no-tags")
    assert server.seen[-1].json() == {"tags": []}
    assert run("annotate", JOB)[0] == 2
    assert run("annotate", JOB, "--tag", "a", "--no-tags")[0] == 2


def test_a_job_shows_its_tags_and_note(server: Any, run: Run, job_answer: JobAnswer) -> None:
    server.json(f"GET /v1/jobs/{JOB}", job_answer(tags=["a", "b"], note="Fine [really]."))
    _, printed, _ = run("show", JOB)
    assert "tags     a  b" in printed
    assert "note     Fine [really]." in printed


def test_a_comparison_has_a_column_per_job(server: Any, run: Run) -> None:
    comparison = {
        "jobs": [
            {"id": JOB, "name": "one", "state": "succeeded", "duration_s": 1.0},
            {"id": OTHER, "name": "two", "state": "queued", "duration_s": None},
        ],
        "differences": [{"pointer": "/optimizer/lr", "values": {JOB: 0.1}}],
        "num_differences": 3,
        "metrics": {"valid_loss": {JOB: {"last": 0.5, "best": 0.25, "best_epoch": 2}}},
        "environments": {JOB: {"device": "cpu"}, OTHER: {}},
    }
    server.json("GET /v1/jobs/compare", comparison)
    status, printed, _ = run("compare", JOB, OTHER)
    assert status == 0
    assert [line.split() for line in printed.splitlines()] == [
        ["FIELD", JOB[:8], OTHER[:8]],
        ["name", "one", "two"],
        ["state", "succeeded", "queued"],
        ["/optimizer/lr", "0.1"],
        ["valid_loss", "last", "0.5"],
        ["valid_loss", "best", "0.25"],
        ["device", "cpu"],
        ["and", "2", "more", "fields"],
    ]


def test_curves_are_shown_on_one_axis(server: Any, run: Run) -> None:
    series = {"job": JOB, "min": [1.0, None, 0.5], "max": [3.0, None, 2.0], "last": [2.0, None, 0.5]}
    empty = {"job": OTHER, "min": [None] * 3, "max": [None] * 3, "last": [None] * 3}
    grid = {
        "axis": "step",
        "width": 64,
        "x": [0, 64, 128],
        "series": [
            {**series, "count": [64, 1, 3], "non_finite": [0, 1, 0]},
            {**empty, "count": [0] * 3, "non_finite": [0] * 3},
        ],
    }
    server.json("GET /v1/metrics", grid)
    status, printed, _ = run("curves", JOB, OTHER, "--name", "loss", "--from", "0", "--to", "150")
    assert status == 0
    assert [line.split() for line in printed.splitlines()] == [
        ["ID", "POINTS", "LAST", "LOWEST", "HIGHEST", "TREND"],
        [JOB[:8], "68", "0.5", "0.5", "3", "█!▁"],
        [OTHER[:8], "0", "nan", "!!!"],
        ["step", "0", "to", "192"],
    ]
    assert server.seen[-1].query == {
        "job": OTHER,
        "name": "loss",
        "split": "valid",
        "x": "step",
        "buckets": "100",
        "from": "0.0",
        "to": "150.0",
    }


def test_several_curves_have_a_column_with_their_names(server: Any, run: Run) -> None:
    values = {"min": [1.0], "max": [1.0], "last": [1.0], "count": [1], "non_finite": [0]}
    series = [{"job": JOB, "split": split, "name": "loss", **values} for split in ("train", "valid")]
    server.json("GET /v1/metrics", {"axis": "step", "width": 1, "x": [0], "series": series})
    status, printed, _ = run("curves", JOB, "--curve", "train/loss", "--curve", "valid/loss")
    assert (status, [value for key, value in server.seen[0].queries if key == "curve"]) == (
        0,
        ["train/loss", "valid/loss"],
    )
    assert [line.split()[:2] for line in printed.splitlines()[:3]] == [
        ["ID", "CURVE"],
        [JOB[:8], "train_loss"],
        [JOB[:8], "valid_loss"],
    ]
    assert run("curves", JOB)[0] == 2
    assert run("curves", JOB, "--curve", "train/loss", "--name", "loss")[0] == 2


def test_usage_is_shown(server: Any, run: Run, job_answer: JobAnswer) -> None:
    points = [{"step": step, "epoch": 1, "seconds": 5.0 * step, "value": 100.0 * step} for step in (1, 2)]
    server.json(f"GET /v1/jobs/{JOB}", job_answer())
    server.json(f"GET /v1/jobs/{JOB}/usage", {"series": [{"name": "cpu_percent", "unit": "percent", "points": points}]})
    status, printed, _ = run("usage", JOB)
    assert status == 0
    assert printed.splitlines()[1].split() == ["cpu_percent", "percent", "200", "150", "200", "▁█"]
