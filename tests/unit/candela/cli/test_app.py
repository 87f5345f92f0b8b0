"""The output and the exit status of commands."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

JobAnswer = Callable[..., dict[str, Any]]
JOB, OTHER = "a1" * 16, "b2" * 16
Run = Callable[..., tuple[int, str, str]]
END = 'id: 9\nevent: end\ndata: {{"payload": {{"state": "{state}"}}}}\n\n'
METRICS = (
    'id: 2\nevent: metrics\ndata: {"payload": {"step": 5, "metrics": {"train_loss": 0.5, "valid_accuracy": 0.875}, '
    '"progress": {"epoch": 1, "epochs": 2, "step": 5, "steps": 10, "eta_seconds": 61.0}}}\n\n'
)


NO_GROUPS: dict[str, Any] = {"num_groups": 0, "items": []}
IMPORT_REPORT: dict[str, Any] = {
    "splits": {"train": {"num_samples": 9, "classes": {}}},
    **dict.fromkeys(("duplicates", "leaks", "label_conflicts"), NO_GROUPS),
    **dict.fromkeys(("num_unreadable", "num_too_large"), 0),
    "num_ignored": 2,
    "ignored_by_suffix": {".txt": 2},
    "sizes": [],
    "image_shape": [1, 8, 8],
    "resize": "stretch",
    "interpolation": "area",
}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text("dataset: {name: digits}\narchitecture: {name: mlp}\noptimizer: {name: adam, lr: 1e-3}\n")
    return path


def test_submitting_posts_the_spec(server: Any, run: Run, spec: Path, job_answer: JobAnswer) -> None:
    server.json("POST /v1/jobs", job_answer(), 202)
    status, printed, _ = run("submit", spec)
    assert status == 0
    assert JOB in printed
    assert "queued" in printed
    assert server.seen[0].json()["optimizer"] == {"name": "adam", "lr": 0.001}


@pytest.mark.parametrize("arguments", [("submit", "--watch"), ("watch", JOB), ("watch", JOB, OTHER)])
def test_ctrl_c_stops_watching_with_exit_status_130(
    server: Any,
    run: Run,
    spec: Path,
    job_answer: JobAnswer,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    for name in ("candela.jobs.Job.watch", "candela.client.Client.events"):
        monkeypatch.setattr(name, interrupt)
    server.json("POST /v1/jobs", job_answer(), 202)
    for job_id in (JOB, OTHER):
        server.json(f"GET /v1/jobs/{job_id}", job_answer(id=job_id))
    status, printed, errors = run(*arguments, *([spec] if arguments[0] == "submit" else []))
    assert (status, printed) == (130, "")
    assert f"candela watch {JOB}" in errors


@pytest.mark.parametrize(("state", "expected"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_exit_status_of_watch_is_that_of_the_job(
    server: Any, run: Run, spec: Path, job_answer: JobAnswer, state: str, expected: int
) -> None:
    server.json("POST /v1/jobs", job_answer(), 202)
    server.stream(f"GET /v1/jobs/{JOB}/events", METRICS + END.format(state=state))
    server.json(f"GET /v1/jobs/{JOB}", job_answer(state=state))
    status, printed, told = run("submit", spec, "--watch")
    assert status == expected
    assert state in printed
    assert "epoch 1/2  1:01 left  valid_accuracy 0.875  train_loss 0.5" in told


def test_several_jobs_are_watched_until_all_end(server: Any, run: Run, job_answer: JobAnswer) -> None:
    server.json(f"GET /v1/jobs/{JOB}", job_answer(state="succeeded"))
    server.json(f"GET /v1/jobs/{OTHER}", job_answer(id=OTHER, state="failed"))
    ends = (f'id: x\nevent: end\ndata: {{"job": "{job}", "payload": {{}}}}\n\n' for job in (JOB, OTHER))
    server.stream("GET /v1/events", "".join(ends))
    status, printed, told = run("watch", JOB, OTHER)
    assert status == 1
    assert {JOB[:8], OTHER[:8], "succeeded", "failed"} <= set(printed.split())
    assert f"job {OTHER} did not succeed" in told


PAUSE = 'id: 3\nevent: state\ndata: {{"job": "{job}", "payload": {{"to": "paused", "reason": "milestone"}}}}\n\n'


def test_watching_stops_at_a_milestone_with_exit_status_0(
    server: Any, run: Run, spec: Path, job_answer: JobAnswer
) -> None:
    paused = job_answer(state="paused", stop_reason="milestone", progress={"epoch": 3, "epochs": 9})
    server.json("POST /v1/jobs", job_answer(), 202)
    server.stream(f"GET /v1/jobs/{JOB}/events", METRICS + PAUSE.format(job=JOB) + END.format(state="failed"))
    server.json(f"GET /v1/jobs/{JOB}", paused)
    status, printed, told = run("submit", spec, "milestones.epochs=[3]", "--watch")
    (submitted,) = [seen for seen in server.seen if seen.method == "POST" and not seen.query]
    assert (status, submitted.json()["milestones"]) == (0, {"epochs": [3]})
    assert "paused" in printed
    assert f"digits is paused at the milestone of epoch 3: candela resume {JOB}" in told


def test_several_jobs_are_watched_until_all_have_ended_or_are_paused_at_milestones(
    server: Any, run: Run, job_answer: JobAnswer
) -> None:
    for state, reason in (("running", None), ("paused", "milestone")):
        server.json(f"GET /v1/jobs/{JOB}", job_answer(state=state, stop_reason=reason))
    for state in ("running", "succeeded"):  # when it is found, and after its end
        server.json(f"GET /v1/jobs/{OTHER}", job_answer(id=OTHER, state=state))
    end = f'id: 4\nevent: end\ndata: {{"job": "{OTHER}", "payload": {{}}}}\n\n'
    more = f'id: 5\nevent: log\ndata: {{"job": "{OTHER}", "payload": {{"level": "warning", "message": "later"}}}}\n\n'
    server.stream("GET /v1/events", PAUSE.format(job=JOB) + end + more)
    status, _, told = run("watch", JOB, OTHER)
    assert (status, "later" in told) == (0, False)


def test_json_is_the_only_output_on_stdout(server: Any, run: Run, spec: Path, job_answer: JobAnswer) -> None:
    server.json("POST /v1/jobs", job_answer(), 202)
    server.stream(f"GET /v1/jobs/{JOB}/events", METRICS + END.format(state="succeeded"))
    server.json(f"GET /v1/jobs/{JOB}", job_answer(state="succeeded"))
    status, printed, _ = run("submit", spec, "--watch", "--json")
    assert status == 0
    assert json.loads(printed)["state"] == "succeeded"


def test_extend_posts_the_schedule_and_prints_new_warnings(
    server: Any, run: Run, tmp_path: Path, job_answer: JobAnswer
) -> None:
    (tmp_path / "schedule.yaml").write_text("name: cosine\neta_min: 1e-5\n")
    server.json(f"GET /v1/jobs/{JOB}", job_answer(state="succeeded", warnings=["an old one"]))
    server.json(f"POST /v1/jobs/{JOB}/extend", job_answer(state="queued", warnings=["an old one", "a new one"]), 202)
    status, printed, errors = run("extend", JOB, "--epochs", "3", "--schedule", tmp_path / "schedule.yaml")
    assert (status, printed, errors) == (0, f"{JOB} queued\n", "warning: a new one\n")
    assert server.seen[-1].json() == {"epochs": 3, "schedule": {"name": "cosine", "eta_min": 1e-5}}


def test_job_is_shown_with_its_best_epoch(server: Any, run: Run, job_answer: JobAnswer) -> None:
    best = {"epoch": 4, "metrics": {"valid_loss": 0.25}}
    server.json(f"GET /v1/jobs/{JOB}", job_answer(metrics={"valid_loss": 0.5}, metrics_best=best))
    _, printed, _ = run("show", JOB)
    assert "metrics  valid_loss 0.5" in printed
    assert "best     epoch 4: valid_loss 0.25" in printed


def test_invalid_spec_is_reported_per_field(server: Any, run: Run, spec: Path) -> None:
    errors = [{"pointer": "/optimizer/lr", "detail": "must be above 0"}]
    server.problem("POST /v1/jobs", 422, "invalid-request", errors=errors)
    status, printed, told = run("submit", spec)
    assert (status, printed) == (1, "")
    assert told == "candela: It is invalid-request. (422 invalid-request)\n  /optimizer/lr: must be above 0\n"


def test_unreachable_server_is_reported_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_URL", "http://127.0.0.1:1")
    status, _, told = run("jobs")
    assert status == 1
    assert told.splitlines() == ["candela: cannot connect to http://127.0.0.1:1; `candela up` starts a server"]


def test_jobs_are_listed(server: Any, run: Run, job_answer: JobAnswer) -> None:
    progress = {"epoch": 3, "epochs": 10, "step": 1, "steps": 2, "eta_seconds": None}
    listed = job_answer(state="running", progress=progress, metrics={"valid_loss": "NaN"})
    server.json("GET /v1/jobs", {"items": [listed], "next_cursor": None})
    status, printed, _ = run("jobs")
    assert status == 0
    assert [line.split() for line in printed.splitlines()] == [
        ["valid"],
        ["ID", "NAME", "STATE", "PROGRESS", "EPOCH", "TIME", "loss", "CREATED"],
        [JOB[:8], "digits", "running", "━━━━────", "3/10", "-", "nan", "2026-11-23", "08:00:00", "UTC"],
    ]


def test_failure_is_shown_with_its_hint(server: Any, run: Run, job_answer: JobAnswer) -> None:
    failure = {"code": "diverged", "message": "Loss [nan].", "hint": "Lower it.", "retryable": False}
    server.json(f"GET /v1/jobs/{JOB}", job_answer(state="failed", failure=failure))
    status, printed, _ = run("show", JOB)
    assert status == 0
    assert "Loss [nan]. (diverged)" in printed
    assert "Lower it." in printed


@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "finish"])
def test_job_is_controlled(server: Any, run: Run, job_answer: JobAnswer, action: str) -> None:
    server.json(f"GET /v1/jobs/{JOB}", job_answer())
    server.json(f"POST /v1/jobs/{JOB}/{action}", job_answer(state="cancelled"), 202)
    assert run(action, JOB)[:2] == (0, f"{JOB} cancelled\n")


def test_metrics_are_shown_as_sparklines(server: Any, run: Run, job_answer: JobAnswer) -> None:
    points = [{"step": n, "epoch": n, "value": value} for n, value in enumerate([3.0, 2.0, "NaN", 1.0])]
    server.json(f"GET /v1/jobs/{JOB}", job_answer())
    server.json(f"GET /v1/jobs/{JOB}/metrics", {"series": [{"name": "loss", "split": "train", "points": points}]})
    status, printed, _ = run("metrics", JOB)
    assert status == 0
    assert printed.splitlines()[1].split() == ["train_loss", "1", "1", "3", "█▅!▁"]


def test_predictions_are_bars_and_an_invalid_image_sets_the_exit_status(server: Any, run: Run, tmp_path: Path) -> None:
    top_k = [{"label": "7", "index": 7, "probability": 0.5}, {"label": "1", "index": 1, "probability": 0.1}]
    good = {"label": "7", "index": 7, "probability": 0.5, "top_k": top_k}
    bad = {"error": {"code": "invalid-picture", "detail": "It cannot be read."}}
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "b.png").write_bytes(b"b")
    answer = {"model": {"name": "digits", "version": 1}, "predictions": [good, bad]}
    server.json("POST /v1/models/digits/predict", answer)
    status, printed, _ = run("predict", "digits", tmp_path / "a.png", tmp_path / "b.png")
    assert status == 1
    lines = printed.splitlines()
    assert lines[1].split() == ["7", "█" * 15 + "·" * 15, "50.0%"]
    assert lines[-1].strip() == "It cannot be read."


def test_views_of_images_are_averaged_on_request(server: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "rows.csv").write_text("age\n3\n")
    good = {"label": "7", "index": 7, "probability": 0.5, "top_k": [{"label": "7", "index": 7, "probability": 0.5}]}
    server.json("POST /v1/models/digits/predict", {"model": {"name": "digits", "version": 1}, "predictions": [good]})
    assert run("predict", "digits", tmp_path / "a.png", "--views", "mirror")[0] == 0
    assert server.seen[0].query["test_time_augmentation"] == "mirror"
    status, _, said = run("predict", "digits", tmp_path / "rows.csv", "--views", "mirror")
    assert (status, "requires images, not rows" in said) == (2, True)
    assert len(server.seen) == 1


def test_table_rows_are_predicted(server: Any, run: Run, tmp_path: Path) -> None:
    table = tmp_path / "pets.csv"
    table.write_text("age;home;zip\n3;farm;07\n\n4.5;;1e2\n")
    answer = {"model": {"name": "pets", "version": 1}, "predictions": [{"values": [1.5]}, {"values": [2.5]}]}
    server.json("POST /v1/models/pets/predict", answer)
    status, printed, _ = run("predict", "pets", table)
    rows = [{"age": 3, "home": "farm", "zip": "07"}, {"age": 4.5, "home": None, "zip": 100}]
    assert server.seen[0].json() == {"rows": rows, "top_k": 3}
    assert (status, "row 2" in printed) == (0, True)
    table.write_text("age,home\n3\n")
    status, _, said = run("predict", "pets", table)
    assert (status, "line 2: 1 values, but 2 columns" in said) == (1, True)


def test_table_is_added_with_options(server: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "pets.csv").write_text("kind,age\ncat,3\n")
    server.json("POST /v1/datasets/pets/versions", {"version": 1, "state": "importing"}, 202)
    options = ("-o", "target=kind", "-o", "ignore=a", "-o", "ignore=b")
    assert run("datasets", "add", "pets", tmp_path / "pets.csv", "--no-wait", *options)[0] == 0
    assert server.seen[0].query["target"] == "kind"
    status, _, said = run("datasets", "add", "pets", tmp_path / "pets.csv", "-o", "target")
    assert (status != 0, "KEY=VALUE" in said) == (True, True)


@pytest.mark.parametrize(("state", "expected"), [("ready", 0), ("failed", 1)])
def test_images_are_added_and_the_import_is_awaited(
    server: Any, run: Run, tmp_path: Path, state: str, expected: int
) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(b"picture")
    server.json("POST /v1/datasets/pets/versions", {"version": 1, "state": "importing"}, 202)
    server.json("GET /v1/datasets/pets/versions/1", {"version": 1, "state": state})
    server.json("GET /v1/datasets/pets/versions/1/report", IMPORT_REPORT)
    status, printed, _ = run("datasets", "add", "pets", tmp_path)
    assert status == expected
    assert printed.startswith(f"pets version 1 is {state}")
    assert [line.split() for line in printed.splitlines()[2:]] == [
        ["samples", "train", "9"],
        ["left", "out", ".txt", "2"],
        ["duplicates", "0"],
        ["leaks", "0"],
        ["unreadable", "0"],
        ["too", "large", "0"],
    ]
    assert printed.splitlines()[1].strip().endswith("1 x 8 x 8, resize=stretch, interpolation=area")


def test_an_import_without_a_report_is_added(server: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "pets.csv").write_text("a,b\n")
    server.json("POST /v1/datasets/pets/versions", {"version": 1, "state": "importing"}, 202)
    server.json("GET /v1/datasets/pets/versions/1", {"version": 1, "state": "failed"})
    server.problem("GET /v1/datasets/pets/versions/1/report", 409, "dataset-not-ready")
    status, printed, _ = run("datasets", "add", "pets", tmp_path / "pets.csv")
    assert (status, printed.splitlines()) == (1, ["pets version 1 is failed"])


def test_the_report_of_the_newest_version_is_shown(server: Any, run: Run) -> None:
    server.json("GET /v1/datasets/pets", {"name": "pets", "versions": [{"version": 2}, {"version": 1}]})
    groups = {"num_groups": 0, "items": []}
    report = {"splits": {"train": {"num_samples": 9}}, "unreadable": [], "duplicates": groups}
    for version in (1, 2):
        server.json(f"GET /v1/datasets/pets/versions/{version}/report", report | {"version": version})
    assert run("datasets", "report", "pets")[:2] == (0, "train: 9 samples\n")
    assert json.loads(run("datasets", "report", "pets", "--json")[1])["version"] == 2
    assert json.loads(run("datasets", "report", "pets", "1", "--json")[1])["version"] == 1
    server.json("GET /v1/datasets/digits", {"name": "digits", "versions": []})
    status, _, said = run("datasets", "report", "digits")
    assert (status, "has no versions" in said) == (1, True)


def test_datasets_and_models_are_listed(server: Any, run: Run) -> None:
    version = {"version": 1, "state": "ready", "num_samples": 9, "classes": ["a", "b"], "image_shape": [1, 8, 8]}
    server.json("GET /v1/datasets", {"items": [{"name": "pets", "versions": [version]}], "next_cursor": None})
    listed = {"name": "digits", "versions": [{"version": 2}, {"version": 1}], "aliases": {"champion": 1}}
    server.json("GET /v1/models", {"items": [listed], "next_cursor": None})
    assert run("datasets")[1].splitlines()[1].split() == ["pets", "1", "ready", "9", "2", "1x8x8"]
    assert run("models")[1].splitlines()[1].split() == ["digits", "2,", "1", "champion", "=", "1"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; import candela.cli;"
        "heavy = {'torch', 'httpx', 'numpy', 'yaml', 'app', 'worker', 'core', 'models'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_sdk_does_not_import_the_service() -> None:
    code = (
        "import sys; import candela; candela.Client; candela.ProblemError;"
        "inside = {'torch', 'app', 'worker', 'core', 'models', 'fastapi', 'celery'} & set(sys.modules);"
        "sys.exit(str(inside) if inside else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["up", "--host", "0.0.0.0"], ["up", "--home", "/dev/null/home"]])
def test_failed_start_is_reported_in_one_line(words: list[str]) -> None:
    command = [sys.executable, "-m", "candela", *words, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("candela: ")


def test_artifacts_are_listed_and_downloaded(server: Any, run: Run, job_answer: JobAnswer, tmp_path: Path) -> None:
    file = {"name": "metrics.csv", "media_type": "text/csv", "size_bytes": 9, "sha256": "a" * 64}
    file["created_at"] = "2026-11-23T08:00:00Z"
    server.json(f"GET /v1/jobs/{JOB}", job_answer(result=None))
    server.json(f"GET /v1/jobs/{JOB}/artifacts", {"items": [file], "next_cursor": None})
    server.stream(f"GET /v1/jobs/{JOB}/artifacts/metrics.csv", "epoch,set", "application/octet-stream")
    status, printed, _ = run("artifacts", JOB)
    assert status == 0
    assert "metrics.csv" in printed
    assert "text/csv" in printed
    status, printed, _ = run("download", JOB, "metrics.csv", tmp_path)
    assert (status, printed.strip()) == (0, str(tmp_path / "metrics.csv"))
    assert (tmp_path / "metrics.csv").read_text() == "epoch,set"


def test_samples_are_listed_and_written(server: Any, run: Run, tmp_path: Path) -> None:
    path = "GET /v1/datasets/pets/versions/1/samples"
    sample = {"split": "train", "index": 3, "name": "a[1].png", "labels": ["cat"], "targets": None, "rows": None}
    row = sample | {"index": 4, "labels": [], "targets": [0.5], "rows": [{"age": 3.0, "kind": None}]}
    server.json(path, {"items": [sample, row], "next_cursor": None})
    server.text(f"{path}/train/3", "PNG")
    server.text(f"{path}/train/4", "PNG")
    status, printed, _ = run("datasets", "samples", "pets", "1", "--class", "cat", "--images", tmp_path / "out")
    assert status == 0
    assert printed.splitlines()[-2].split() == ["train/3", "a[1].png", "cat"]
    assert printed.splitlines()[-1].split() == ["train/4", "a[1].png", "0.5", "age=3.0", "kind="]
    assert server.seen[0].query == {"class": "cat", "limit": "20"}
    assert (tmp_path / "out" / "train-3.png").read_bytes() == b"PNG"


def test_models_register_posts_the_network_and_waits(
    server: Any, run: Run, job_answer: JobAnswer, tmp_path: Path
) -> None:
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    server.json("POST /v1/models", job_answer(), 202)
    server.json(f"GET /v1/jobs/{JOB}", job_answer(state="succeeded", model={"name": "pets", "version": 2}))
    arguments = ["--weights", "file:pets.safetensors", "-o", "head=[8]", "-o", "kernel=5", "--image-shape", "3,32,32"]
    moments = ["--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2", "--resize", "crop"]
    status, printed, _ = run(
        "models", "register", "pets", "convnet", *arguments, *moments, "--classes", tmp_path / "classes.txt"
    )
    assert (status, printed) == (0, "pets@2\n")
    assert server.seen[0].json() == {
        "name": "pets",
        "architecture": {"name": "convnet", "head": [8], "kernel": 5},
        "weights": "file:pets.safetensors",
        "image_shape": [3, 32, 32],
        "classes": ["cat", "dog"],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
        "resize": "crop",
    }


@pytest.mark.parametrize("arguments", [["--mean", "0.5,x"], ["-o", "kernel"], ["--image-shape", "3x32x32"]])
def test_an_invalid_option_of_models_register_sends_nothing(arguments: list[str], server: Any, run: Run) -> None:
    status, _, _ = run("models", "register", "pets", "convnet", *arguments)
    assert (status, server.seen) == (2, [])


def test_a_failed_registration_has_exit_status_1(server: Any, run: Run, job_answer: JobAnswer) -> None:
    failure = {"code": "invalid_spec", "message": "No such file.", "hint": "Correct it.", "retryable": False}
    server.json("POST /v1/models", job_answer(), 202)
    server.json(f"GET /v1/jobs/{JOB}", job_answer(state="failed", failure=failure))
    status, printed, errors = run("models", "register", "pets", "convnet")
    assert (status, "No such file." in printed, errors) == (1, True, "")
