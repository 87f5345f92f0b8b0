"""Unpacks homes of version 0.1, runs a version of the code with them, and reads their content over HTTP."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn

from tests.support.processes import die_with_parent, end

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "data"
HOME, BUNDLE, EXPECTED = DATA / "home.tar.gz", DATA / "bundle.tar.gz", DATA / "expected.json"
SETTINGS = {
    "CANDELA_LEASE_S": "30",
    "CANDELA_HEARTBEAT_S": "0.5",
    "CANDELA_MAINTENANCE_S": "0.5",
    "CANDELA_GRACE_S": "20",
}
MEASURED = frozenset({"images_per_s", "data_wait", "epoch_seconds", "peak_memory_mib", "seconds"})
"""Curves that measure time or memory."""
FINISHED = frozenset({"succeeded", "failed", "cancelled"})
TIMEOUT_S, POLL_S = 300.0, 0.1

RESUMABLE = ("image", "several", "table", "finder", "continued")
"""The paused jobs, by name."""
ROWS = [
    {"bill_length_mm": 39.1, "bill_depth_mm": 18.7, "flipper_length_mm": 181, "island": "Torgersen", "sex": "male"},
    {"bill_length_mm": 46.5, "bill_depth_mm": 17.9, "flipper_length_mm": 192, "island": "Dream", "sex": "female"},
    {"bill_length_mm": 50.0, "bill_depth_mm": 16.3, "flipper_length_mm": 230, "island": "Biscoe", "sex": "male"},
    {"bill_length_mm": None, "bill_depth_mm": 14.9, "flipper_length_mm": 215, "island": "Biscoe", "sex": None},
]
PIXELS = np.random.default_rng(5).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8).tolist()
NEW_JOB: dict[str, Any] = {
    "name": "successor",
    "dataset": {"name": "synthetic", "image_shape": [3, 8, 8], "num_classes": 4, "num_samples": 160, "seed": 3},
    "architecture": {"name": "convnet", "channels": [4], "head": [8]},
    "optimizer": {"name": "adam", "lr": 0.01},
    "schedule": {"name": "step", "step_size": 1, "gamma": 0.7},
    "metrics": ["accuracy"],
    "batch_size": 16,
    "seed": 11,
    "threads": 1,
    "device": "cpu",
    "precision": "fp32",
}
"""A job that continues from a checkpoint of the finished one; `resume_from` and the callbacks are added to it."""


def unpack(archive: Path, folder: Path) -> Path:
    """Extract an archive into a new folder and return the folder."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def read_expected_values() -> dict[str, Any]:
    """Return the responses and results of the code of version 0.1."""
    expected: dict[str, Any] = json.loads(EXPECTED.read_text())
    return expected


@contextmanager
def run_service(home: Path, code: Path = ROOT, settings: Mapping[str, str] | None = None) -> Iterator[httpx.Client]:
    """Run `candela up` with the code in a folder, and yield a client of it.

    Raises:
        AssertionError: it does not start.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CANDELA_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "candela", "up", "--home", str(home), "--port", "0"],
        cwd=code,
        env=inherited | SETTINGS | {"PYTHONPATH": str(code)} | dict(settings or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("ready http://"), f"the service did not start: {first!r} {process.communicate()}"
        with httpx.Client(base_url=first.split()[1], timeout=60) as client:
            yield client
    finally:
        end(process)
        process.communicate()


def get_json(client: httpx.Client, path: str) -> Any:
    """Return the JSON of a successful GET."""
    response = client.get(path)
    assert response.status_code == 200, f"{path}: {response.status_code} {response.text}"
    return response.json()


def post_json(client: httpx.Client, path: str, body: Any = None) -> Any:
    """Return the JSON of a successful POST."""
    response = client.post(path, json=body)
    assert response.status_code in {200, 202}, f"{path}: {response.status_code} {response.text}"
    return response.json()


def wait_until(find: Callable[[], T | None], what: str) -> T:
    """Call a function until it returns a true value, and return that.

    Raises:
        TimeoutError: it never did.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        found = find()
        if found:
            return found
        time.sleep(POLL_S)
    raise TimeoutError(f"waited {TIMEOUT_S:g} s for {what}")


def wait_for_job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """Wait until a job is finished, and return it."""

    def find() -> dict[str, Any] | None:
        job: dict[str, Any] = get_json(client, f"/v1/jobs/{job_id}")
        return job if job["state"] in FINISHED else None

    return wait_until(find, f"the end of job {job_id}")


def read_job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """Return everything that the API shows of a finished job."""
    path = f"/v1/jobs/{job_id}"
    return {
        "job": get_json(client, path),
        "curves": get_json(client, f"{path}/metrics"),
        "checkpoints": get_json(client, f"{path}/checkpoints"),
        "artifacts": get_json(client, f"{path}/artifacts"),
        "logs": client.get(f"{path}/logs", headers={"Accept": "application/json"}).json(),
    }


def read_events(client: httpx.Client, job_id: str) -> list[Any]:
    """Return the events of a finished job."""
    stream = client.get(f"/v1/jobs/{job_id}/events").text
    return [json.loads(line.removeprefix("data:")) for line in stream.splitlines() if line.startswith("data:")]


def read_result(client: httpx.Client, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of a training, without measurements of time and memory."""
    series = get_json(client, f"/v1/jobs/{job['id']}/metrics")["series"]
    curves = {
        f"{curve['split']}_{curve['name']}": [point["value"] for point in curve["points"]]
        for curve in series
        if curve["name"] not in MEASURED
    }
    model, best = job["model"], job.get("metrics_best")
    version = get_json(client, f"/v1/models/{model['name']}/versions/{model['version']}")
    return {
        "sha256": version["sha256"],
        "stop_reason": job["stop_reason"],
        "progress": {name: job["progress"][name] for name in ("epoch", "step")},
        "artifacts": sorted(file["name"] for file in get_json(client, f"/v1/jobs/{job['id']}/artifacts")["items"]),
        "metrics": job["metrics"] if best is None else best["metrics"],  # of the registered weights
        "curves": curves,
        "predictions": predict_inputs(client, f"{model['name']}@{model['version']}"),
    }


def predict_inputs(client: httpx.Client, ref: str, variant: str | None = None) -> Any:
    """Return a model's predictions of the four inputs of these tests."""
    query = "" if variant is None else f"?variant={variant}"
    return post_json(client, f"/v1/models/{ref}/predict{query}", build_request(is_table=ref.startswith("table")))


def build_request(*, is_table: bool = False) -> dict[str, Any]:
    """Build a prediction request of four rows or four images."""
    return {"rows": ROWS} if is_table else {"instances": [{"values": image} for image in PIXELS], "top_k": 4}


def finish_all_jobs(client: httpx.Client, ids: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Resume every paused job, post the successor of the finished one, and return the finished jobs by name."""
    for name in RESUMABLE:
        post_json(client, f"/v1/jobs/{ids[name]}/resume")
    successor = post_json(client, "/v1/jobs", build_successor_spec(ids["finished"], "successor"))["id"]
    posted = {name: ids[name] for name in RESUMABLE} | {"successor": successor}
    return {name: wait_for_job(client, job_id) for name, job_id in posted.items()}


def build_successor_spec(job_id: str, name: str) -> dict[str, Any]:
    """Build a job that takes over weights, optimizer, callbacks and curves of a checkpoint of another job."""
    source = {"job": job_id, "checkpoint": "latest", "optimizer": True, "callbacks": True, "records": True}
    callbacks = [
        {"name": "early_stopping", "monitor": "valid_loss", "min_delta": 10.0, "patience": 9},
        {"name": "keep_best", "monitor": "valid_loss"},
        {"name": "csv_logger"},
        {"name": "ema", "decay": 0.9},
    ]
    return {**NEW_JOB, "name": name, "epochs": 14, "resume_from": source, "callbacks": callbacks}


def read_weights(client: httpx.Client, model: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights in the bundle of a model."""
    path = f"/v1/models/{model['name']}/versions/{model['version']}/bundle"
    with zipfile.ZipFile(io.BytesIO(client.get(path).content)) as bundle:
        return load(bundle.read("weights.safetensors"))


def fingerprint_arithmetic() -> str:
    """Return a hash of float32 sums that this process computes.

    Kernels of oneDNN, MKL and ATen add in another order on another processor, by its instruction set and its caches.
    Processes with equal fingerprints are taken to compute small trainings to the same bits.
    """
    digest, threads = hashlib.sha256(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for tensor in (*_train_networks(), *_apply_kernels()):
                digest.update(tensor.detach().contiguous().numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    return digest.hexdigest()[:16]


def _train_networks() -> Iterator[Tensor]:
    """Yield weights of networks of the kinds that the jobs of the fixtures train."""
    for channels in (4, 8):
        convolutions = nn.Sequential(
            *(nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            *(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)),
        ).to(memory_format=torch.channels_last)
        _train(convolutions, (16, 3, 8, 8), torch.optim.AdamW(convolutions.parameters(), 0.01, fused=True))
        perceptron = nn.Sequential(
            *(nn.Flatten(), nn.Linear(192, channels), nn.BatchNorm1d(channels), nn.ReLU(), nn.Linear(channels, 4))
        )
        _train(perceptron, (16, 3, 8, 8), torch.optim.SGD(perceptron.parameters(), 0.1, momentum=0.9, fused=True))
        rows = nn.Sequential(nn.Linear(9, channels), nn.ReLU(), nn.Linear(channels, 4))
        _train(rows, (32, 9), torch.optim.RMSprop(rows.parameters(), 0.01))
        for network in (convolutions, perceptron, rows):
            yield from network.state_dict().values()


def _train(network: nn.Module, shape: tuple[int, ...], optimizer: torch.optim.Optimizer) -> None:
    inputs, targets = torch.randn(shape), torch.arange(shape[0]) % 4
    for _ in range(20):
        optimizer.zero_grad()
        scores = network(inputs)
        loss = nn.functional.cross_entropy(scores, targets) + (torch.softmax(scores, 1) ** 2).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


def _apply_kernels() -> Iterator[Tensor]:
    """Yield results of larger shapes, on which more kernels differ."""
    values = torch.randn(64, 96)
    yield from (torch.softmax(values, 1), torch.log_softmax(values, 1), values.sum(0), values.mean(), values.norm())
    yield from (values @ torch.randn(96, 80), torch.sigmoid(values), torch.tanh(values), values.exp().sum(1))
    images = torch.randn(8, 16, 12, 12).contiguous(memory_format=torch.channels_last)
    yield nn.functional.conv2d(images, torch.randn(24, 16, 3, 3), padding=1)
    yield nn.functional.grid_sample(images, torch.rand(8, 12, 12, 2) * 2 - 1, align_corners=False)
