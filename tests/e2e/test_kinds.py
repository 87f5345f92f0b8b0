"""Every job kind through the command line and a real worker, with its artifacts."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Service, environment

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(240)]
Up = Callable[..., Service]
Spec = Callable[..., dict[str, Any]]
LOGGERS = [{"name": name} for name in ("csv_logger", "tensorboard", "confusion_matrix", "worst_samples")]
FILES = {
    "calibration.json",
    "class_metrics.json",
    "confusion_matrix.csv",
    "confusion_matrix.json",
    "confusion_matrix.png",
    "events.out.tfevents.candela",
    "learning_curve.png",
    "metrics.csv",
    "worst_samples.csv",
    "worst_samples.json",
    "worst_samples.png",
}


class Shell:
    """Runs `candela` commands for a running service."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service, self._folder = service, folder

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "candela", *arguments],
            env=environment(CANDELA_URL=self.service.url),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Submit a job, wait for it and return it."""
        path = self._folder / "job.json"
        path.write_text(json.dumps(spec))
        job: dict[str, Any] = json.loads(self("submit", str(path), "--watch", "--json"))
        return job

    def files(self, job: dict[str, Any]) -> set[str]:
        return {file["name"] for file in json.loads(self("artifacts", job["id"], "--json"))}

    def read(self, job: dict[str, Any], name: str) -> bytes:
        return Path(self("download", job["id"], name, str(self._folder)).strip()).read_bytes()


@pytest.fixture(scope="module")
def shell(shared_up: Up, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(shared_up(), tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="module")
def trained_job(shell: Shell, spec: Spec) -> dict[str, Any]:
    return shell.submit(spec(epochs=2, callbacks=LOGGERS))


def test_training_saves_artifacts(shell: Shell, trained_job: dict[str, Any]) -> None:
    assert trained_job["model"] == {"name": "small", "version": 1}
    assert shell.files(trained_job) == FILES
    with shell.service.client() as client:
        tags = [tag for checkpoint in client.jobs.get(trained_job["id"]).checkpoints() for tag in checkpoint["tags"]]
    assert "latest" in tags
    rows = list(csv.DictReader(io.StringIO(shell.read(trained_job, "metrics.csv").decode())))
    assert [(row["epoch"], row["set"]) for row in rows] == [
        ("1", "train"),
        ("1", "valid"),
        ("2", "train"),
        ("2", "valid"),
    ]
    assert float(rows[-1]["loss"]) == pytest.approx(trained_job["metrics"]["valid_loss"])
    assert shell.read(trained_job, "worst_samples.png").startswith(b"\x89PNG")


def test_lr_find_saves_its_curve(shell: Shell, spec: Spec) -> None:
    job = shell.submit(spec(kind="lr_find", steps=20))
    assert shell.files(job) == {"lr_find.json", "lr_find.png"}
    assert json.loads(shell.read(job, "lr_find.json")) == job["result"]
    assert job["model"] is None


def test_evaluate_has_the_metrics_of_training(shell: Shell, spec: Spec, trained_job: dict[str, Any]) -> None:
    dataset = {name: value for name, value in spec()["dataset"].items() if name != "train_transforms"}
    body = {"kind": "evaluate", "name": "evaluation", "model": "small@1", "dataset": dataset, "split": "valid"}
    job = shell.submit({**body, "device": "cpu", "threads": 1})
    assert job["result"]["metrics"]["loss"] == pytest.approx(trained_job["metrics"]["valid_loss"], rel=1e-3)
    assert sum(row["count"] for row in job["result"]["calibration"]["bins"]) == job["result"]["num_samples"]


def test_predict_saves_predictions(shell: Shell, spec: Spec, trained_job: dict[str, Any]) -> None:
    dataset = {name: value for name, value in spec()["dataset"].items() if name != "train_transforms"}
    body = {"kind": "predict", "name": "predictions", "model": "small@1", "dataset": dataset, "split": "valid"}
    job = shell.submit({**body, "device": "cpu", "threads": 1})
    lines = shell.read(job, "predictions.jsonl").decode().splitlines()
    assert len(lines) == job["result"]["num_samples"]
    assert "label" in json.loads(lines[0])
