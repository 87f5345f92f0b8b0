"""Two real trainings are tagged, listed, compared and drawn on one axis, through the command line and the SDK."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from candela import Client
from tests.e2e.conftest import Service
from tests.e2e.test_kinds import Shell

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(240)]
Up = Callable[..., Service]


def build_spec(name: str, lr: float) -> dict[str, Any]:
    return {
        "name": name,
        "dataset": {"name": "digits"},
        "architecture": {"name": "mlp", "hidden": [16]},
        "optimizer": {"name": "sgd", "lr": lr},
        "epochs": 6,
    }


def test_jobs_are_compared_from_submission_to_curves(up: Up, tmp_path: Path) -> None:
    service = up()
    shell = Shell(service, tmp_path)
    slow, fast = (shell.submit(build_spec(name, lr))["id"] for name, lr in (("slow", 0.001), ("fast", 0.2)))
    shell("annotate", fast, "--tag", "candidate", "--note", "Learns **faster**.")
    with Client(service.url) as client:
        best_first = [job.id for job in client.jobs.list(sort="-metrics.valid_accuracy.best")]
        assert best_first == [fast, slow]
        assert [job.id for job in client.jobs.list(tags=["candidate"], q="faster", dataset="digits")] == [fast]
        (job,) = client.jobs.list(name="fast")
        assert job.response["best_values"]["valid_accuracy"]["value"] > 0.8
        assert job.response["duration_s"] is not None
    comparison = json.loads(shell("compare", slow, fast, "--json"))
    differences = {each["pointer"]: each["values"] for each in comparison["differences"]}
    assert differences["/optimizer/lr"] == {slow: 0.001, fast: 0.2}
    assert comparison["environments"][fast]["device"] == comparison["environments"][slow]["device"]
    check_curves(service, slow, fast)
    usage = {series["name"]: series["points"] for series in json.loads(shell("usage", fast, "--json"))}
    assert {"cpu_percent", "memory_mib", "data_wait", "images_per_s"} <= usage.keys()
    assert usage["memory_mib"][0]["value"] > 50
    assert usage["images_per_s"][0]["value"] > 0
    metrics = httpx.get(f"{service.url}/metrics").text
    assert 'candela_worker_memory_mib{worker="' in metrics


def check_curves(service: Service, slow: str, fast: str) -> None:
    """Compare the grid with the metrics of each job."""
    with Client(service.url) as client:
        grid = client.jobs.curves([slow, fast], "loss", "valid", x="epoch")
        assert grid["x"] == [1, 2, 3, 4, 5, 6]
        for series in grid["series"]:
            (curve,) = client.jobs.get(series["job"]).metrics(name="loss", split="valid")
            assert series["last"] == [point["value"] for point in curve["points"]]
            assert series["count"] == [1] * 6
        times = client.jobs.curves([fast], "step_loss", "train", x="time", buckets=5)
        assert 2 <= len(times["x"]) <= 5
    query = {"job": [slow, fast], "name": "step_loss", "split": "train"}
    first = httpx.get(f"{service.url}/v1/metrics", params=query, headers={"Accept-Encoding": "gzip"})
    assert first.headers["Content-Encoding"] == "gzip"
    again = httpx.get(f"{service.url}/v1/metrics", params=query, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
