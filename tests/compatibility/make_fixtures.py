"""Writes the fixtures of version 0.1: `python -m tests.compatibility.make_fixtures --code <checkout of 7a4a356>`.

The fixtures are made once, by the code that they are named after. Later code reads them and does not make them again.
The script starts `candela up` in the checkout, trains small models, pauses jobs in the middle of an epoch, and packs
the home. Then it resumes the jobs with the same code, once as the processor is and once with AVX2 only, and records
what that gives.
"""

import argparse
import gzip
import io
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from tests.compatibility import homes

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "native": {},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
}
PAUSE_EPOCHS = {"continued": 4}  # the others: 2
SLICE_S, LOOK_S = 0.004, 0.05
COMMON: dict[str, Any] = {"seed": 7, "threads": 1, "device": "cpu", "precision": "fp32", "batch_size": 16}
IMAGES = homes.NEW_JOB["dataset"]
CSV_TABLE = (
    "age,weight,kind\n3,4.2,cat\n5,30.5,dog\n4,3.9,cat\n7,25.0,dog\n2,4.0,cat\n9,NA,dog\n6,28.1,dog\n1,3.1,cat\n"
)


def build_jobs() -> dict[str, dict[str, Any]]:
    """Return the jobs that are paused, by name."""
    image = {
        "dataset": {
            **IMAGES,
            "train_transforms": [
                {"name": "horizontal_flip"},
                {"name": "affine", "degrees": 10, "translate": 0.1},
                {"name": "color_jitter"},
                {"name": "random_erasing", "p": 0.3},
            ],
        },
        "architecture": {"name": "convnet", "channels": [4, 4], "batch_norm": True, "dropout": 0.1, "head": [8]},
        "optimizer": {"name": "adamw", "groups": [{"match": "head.*", "lr": 0.002}]},
        "schedule": {"name": "one_cycle", "max_lr": 0.01},
        "metrics": ["accuracy", "auroc", "f1", {"name": "top_k", "k": 2}, "confusion_matrix"],
        "epochs": 10,
        "batch_size": 8,
        "accumulate_batches": 2,
        "on_oom": "accumulate",
        "sampler": "weighted",
        "callbacks": [
            {"name": "early_stopping", "monitor": "valid_accuracy", "min_delta": 5.0, "patience": 6},
            {"name": "model_checkpoint", "every_epochs": 2, "keep": 1},
            {"name": "keep_best"},
            {"name": "gradient_clip", "max_norm": 1.0},
            {"name": "time_limit", "seconds": 100_000},
            {"name": "freeze", "match": "features.0.*", "until_epoch": 2},
            {"name": "ema", "decay": 0.95},
            {"name": "mixup", "alpha": 0.3},
            {"name": "csv_logger"},
            {"name": "tensorboard", "histograms": ["head.*"]},
            {"name": "confusion_matrix"},
            {"name": "worst_samples", "count": 3},
        ],
    }
    several = {
        "dataset": IMAGES,
        "architecture": {"name": "mlp", "hidden": [8], "batch_norm": True},
        "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
        "optimizer": {
            "name": "several",
            "parts": [
                {"match": "1.*", "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9}},
                {"match": "*", "optimizer": {"name": "adam", "lr": 0.005}},
            ],
        },
        "schedule": {"name": "one_cycle", "max_lr": "auto"},
        "epochs": 14,
        "callbacks": [{"name": "swa", "start": 0.1}],
    }
    table = {
        "dataset": {"name": "palmerpenguins", "target": "body_mass_g", "missing": "impute"},
        "architecture": {"name": "tabular", "hidden": [8]},
        "optimizer": {"name": "rmsprop", "lr": 0.01},
        "schedule": {"name": "plateau", "monitor": "valid_mae", "patience": 0, "factor": 0.5, "threshold": 0.5},
        "metrics": ["mae", "r2"],
        "epochs": 14,
        "batch_size": 32,
        "callbacks": [
            {"name": "lookahead", "k": 3},
            {"name": "early_stopping", "monitor": "valid_mae", "baseline": 1.0, "patience": 10},
        ],
    }
    finder = {
        "dataset": IMAGES,
        "architecture": {"name": "mlp", "hidden": [8], "dropout": 0.1},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
        "schedule": {
            "name": "sequential",
            "schedules": [{"name": "linear"}, {"name": "cosine"}],
            "milestones": [2],
        },
        "freeze": ["4.bias"],
        "epochs": 14,
        "batch_size": 8,
        "callbacks": [
            {"name": "batch_size_finder", "max_size": 16, "steps": 1, "choose": "largest"},
            {"name": "keep_best", "monitor": "valid_loss", "mode": "max"},
            {"name": "cutmix"},
        ],
    }
    return {name: COMMON | body for name, body in zip(homes.RESUMABLE, (image, several, table, finder), strict=False)}


FINISHED_JOB: dict[str, Any] = {
    **homes.NEW_JOB,
    "name": "finished",
    "epochs": 3,
    "callbacks": [
        {"name": "early_stopping", "monitor": "valid_loss", "min_delta": 10.0, "patience": 5},
        {"name": "keep_best", "monitor": "valid_loss"},
        {"name": "csv_logger"},
        {"name": "confusion_matrix"},
        {"name": "ema", "decay": 0.9},
    ],
}


def main() -> None:
    """Make the home, record the results of the same code, and write everything to `data`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--code", type=Path, required=True, help="a checkout of version 0.1")
    code = parser.parse_args().code.resolve()
    shutil.rmtree(homes.DATA, ignore_errors=True)
    homes.DATA.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        expected = record_home(Path(folder) / "home", code)
    records = [record_results(expected["ids"], code, name, settings) for name, settings in ENVIRONMENTS.items()]
    expected["resumed"] = merge_equal_records(records)
    write_expected_values(expected)


def write_expected_values(expected: Mapping[str, Any]) -> None:
    """Write the expected results as JSON, with several values per line."""
    homes.EXPECTED.write_text(json.dumps(expected, separators=(",", ":")).replace('},"', '},\n"') + "\n")


def record_home(home: Path, code: Path) -> dict[str, Any]:
    """Make and pack a home; return the responses of its service."""
    with homes.run_service(home, code) as client:
        ids = make_home(client, home / "logs" / "worker.log")
    clean(home, code)
    pack(home, homes.HOME)
    pack(home / "store" / find_bundle_key(home), homes.BUNDLE)
    with homes.run_service(homes.unpack(homes.HOME, home.with_name("again")), code) as client:
        responses = record_responses(client, ids)
    return {"ids": ids, "responses": responses, "snapshots": find_snapshots(home, ids)}


def make_home(client: httpx.Client, log: Path) -> dict[str, str]:
    """Fill a new home with jobs, datasets, models and variants; return the ids of the jobs by name."""
    ids = {"finished": homes.post_json(client, "/v1/jobs", FINISHED_JOB)["id"]}
    wait_for_success(client, ids["finished"])
    jobs = build_jobs() | {"continued": homes.build_successor_spec(ids["finished"], "continued")}
    for name, body in jobs.items():
        ids[name] = pause(client, log, {**body, "name": name})
    evaluation = {"model": "finished@1", "dataset": IMAGES, "split": "valid", "device": "cpu", "threads": 1}
    others: dict[str, dict[str, Any]] = {
        "evaluated": {"kind": "evaluate", **evaluation, "metrics": ["accuracy", "confusion_matrix"], "num_bins": 4},
        "predicted": {"kind": "predict", **evaluation, "scores": True},
        "onnx": {"kind": "variant", **evaluation, "format": "onnx"},
        "int8": {"kind": "variant", **evaluation, "format": "int8", "max_drop": 1.0},
        "searched": {**FINISHED_JOB, "kind": "lr_find", "steps": 12},
        "diverged": {**FINISHED_JOB, "optimizer": {"name": "sgd", "lr": 1e12}, "schedule": None},
    }
    for name, body in others.items():
        ids[name] = homes.post_json(client, "/v1/jobs", {**body, "name": name})["id"]
        homes.wait_for_job(client, ids[name])
        if name != "diverged":
            wait_for_success(client, ids[name])
    alias = client.put("/v1/models/finished/aliases/fast", json={"version": 1, "variant": "onnx"})
    assert alias.status_code == 200, alias.text
    upload_datasets(client)
    return ids


def wait_for_success(client: httpx.Client, job_id: str) -> None:
    """Wait for a job that must succeed."""
    job = homes.wait_for_job(client, job_id)
    assert job["state"] == "succeeded", job["failure"]


def pause(client: httpx.Client, log: Path, body: Mapping[str, Any]) -> str:
    """Post a job and pause it in the middle of an epoch; return its id.

    Raises:
        AssertionError: no attempt stopped in the middle of an epoch.
    """
    for num_slices in (3, 5, 8, 12, 16):
        job_id: str = homes.post_json(client, "/v1/jobs", body)["id"]
        path = f"/v1/jobs/{job_id}"
        pause_after(client, log, path, PAUSE_EPOCHS.get(str(body["name"]), 2), num_slices)
        job, checkpoints = homes.get_json(client, path), homes.get_json(client, f"{path}/checkpoints")["items"]
        steps_per_epoch = job["progress"]["steps"] // job["progress"]["epochs"]
        if job["state"] == "paused" and checkpoints[-1]["step"] % steps_per_epoch:
            return job_id
        if job["state"] == "paused":
            homes.post_json(client, f"{path}/cancel")
        client.delete(path)
    raise AssertionError(f"{body['name']} never stopped in the middle of an epoch")


def pause_after(client: httpx.Client, log: Path, path: str, epochs: int, num_slices: int) -> None:
    """Pause a job a number of time slices after the end of an epoch.

    The trainer of such a small job is fast. It runs for some milliseconds at a time until the stop request is sent.
    """
    trainer = homes.wait_until(
        lambda: (homes.get_json(client, path)["runtime"] or {}).get("trainer_pid"), "the trainer"
    )
    with running_in_slices(trainer) as run_slice:
        while count_epochs(client, path) < epochs:
            run_slice()
        for _ in range(num_slices):
            run_slice()
        homes.post_json(client, f"{path}/pause")
        homes.wait_until(lambda: has_sent_stop(log, path), "the stop request")
        time.sleep(1.0)  # the line comes just before the message
    homes.wait_until(lambda: homes.get_json(client, path)["state"] in homes.FINISHED | {"paused"}, "the pause")


def has_sent_stop(log: Path, path: str) -> bool:
    """Return whether the worker's log has a stop request to the trainer."""
    job_id = path.rpartition("/")[2]
    return any("attempt.stop_asked" in line and job_id in line for line in log.read_text().splitlines())


def count_epochs(client: httpx.Client, path: str) -> int:
    """Return how many epochs of a job are complete."""
    job = homes.get_json(client, path)
    assert job["state"] == "running", f"{job['name']} was too fast: {job['state']}"
    return max((one["epoch"] for one in homes.get_json(client, f"{path}/checkpoints")["items"]), default=0)


@contextmanager
def running_in_slices(pid: int) -> Iterator[Callable[[], None]]:
    """Stop a process, and yield a function that lets it run for a moment; afterwards it runs again."""

    def run_slice() -> None:
        os.kill(pid, signal.SIGCONT)
        time.sleep(SLICE_S)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(LOOK_S)

    os.kill(pid, signal.SIGSTOP)
    try:
        yield run_slice
    finally:
        os.kill(pid, signal.SIGCONT)


def upload_datasets(client: httpx.Client) -> None:
    """Upload a table with a missing value, and an archive of images with a duplicate and an invalid image file."""
    client.post("/v1/datasets/animals/versions?missing=drop", content=CSV_TABLE, headers={"Content-Type": "text/csv"})
    archive = io.BytesIO()
    rng = np.random.default_rng(1)
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(6):
            pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8) if number else np.zeros((6, 6, 3), np.uint8)
            body = io.BytesIO()
            Image.fromarray(pixels).save(body, "PNG")
            for copy in range(2 if number == 1 else 1):
                file.writestr(f"train/{'ab'[number % 2]}/{number}-{copy}.png", body.getvalue())
        file.writestr("train/a/notes.txt", "no image")
    client.post("/v1/datasets/tiles/versions", content=archive.getvalue())
    for name in ("animals", "tiles"):
        path = f"/v1/datasets/{name}/versions/1"
        homes.wait_until(lambda path=path: homes.get_json(client, path)["state"] == "ready", f"the dataset {path}")  # type: ignore[misc]


def record_responses(client: httpx.Client, ids: Mapping[str, str]) -> dict[str, Any]:
    """Return the responses about everything that does not change any more."""
    paused = {name: homes.read_job(client, ids[name]) for name in homes.RESUMABLE}
    latest = homes.post_json(client, f"/v1/jobs/{ids['image']}/predict", homes.build_request())
    paths = [
        "/v1/models",
        "/v1/models/finished",
        "/v1/models/finished/versions/1",
        "/v1/models/finished/versions/1/variants",
        *(f"/v1/datasets/{name}" for name in ("synthetic", "palmerpenguins", "animals", "tiles")),
        *(f"/v1/datasets/{name}/versions/1/report" for name in ("synthetic", "palmerpenguins", "animals", "tiles")),
    ]
    files = {
        name: sorted(homes.get_json(client, f"/v1/jobs/{ids[name]}")["result"].get("files", {}))
        for name in ("predicted", "onnx", "int8")
    }
    return {
        "paused": {name: {"job": found["job"], "checkpoints": found["checkpoints"]} for name, found in paused.items()},
        "finished": {
            name: homes.read_job(client, job_id) for name, job_id in ids.items() if name not in homes.RESUMABLE
        },
        "events": homes.read_events(client, ids["finished"]),
        "files": files,
        "gets": {path: homes.get_json(client, path) for path in paths},
        "predictions": {
            "finished": homes.predict_inputs(client, "finished@1", "none"),
            "onnx": homes.predict_inputs(client, "finished@fast"),
            "int8": homes.predict_inputs(client, "finished@1", "int8"),
            "checkpoint": latest,
        },
    }


def clean(home: Path, code: Path) -> None:
    """Delete what a home needs no more, and replace names of this machine in the database."""
    for name in ("run", "logs", "valkey", "cache", "store/.scratch"):
        shutil.rmtree(home / name, ignore_errors=True)
    names = {str(code): "/srv/candela", sys.prefix: "/usr/local", f"{socket.gethostname()}:": "worker:"}
    with closing(sqlite3.connect(home / "candela.db", isolation_level=None)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for column in [row[1] for row in database.execute(f"PRAGMA table_info('{table}')")]:
                for old, new in names.items():
                    database.execute(
                        f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)',
                        (old, new, old),
                    )
        database.execute("DELETE FROM worker")
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = [
        path for path in home.rglob("*") if path.is_file() and any(name.encode() in path.read_bytes() for name in names)
    ]
    assert not found, f"names of this machine are left in {found}"


def pack(folder: Path, archive: Path) -> None:
    """Write a folder as an archive that depends on nothing but its content.

    Files of one name are neighbours: snapshots share random states, and gzip finds what is less than 32 KiB apart.
    """
    with gzip.GzipFile(archive, "wb", compresslevel=9, mtime=0) as body, tarfile.open(fileobj=body, mode="w") as tar:
        for path in sorted(folder.rglob("*"), key=lambda path: (path.is_file(), path.name, path)):
            entry = tar.gettarinfo(str(path), path.relative_to(folder).as_posix())
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
            entry.mode = 0o755 if path.is_dir() else 0o644
            if path.is_file():
                with path.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)
    print(archive.name, archive.stat().st_size)  # noqa: T201


def find_snapshots(home: Path, ids: Mapping[str, str]) -> dict[str, Any]:
    """Return where the home has the newest snapshot and the dataset of each paused job."""
    query = (
        "SELECT c.key, d.packed_key, j.spec FROM checkpoint c JOIN job j ON j.id = c.job_id "
        "JOIN dataset_version d ON d.id = j.dataset_version_id WHERE c.job_id = ? ORDER BY c.step DESC, c.number DESC"
    )
    with closing(sqlite3.connect(home / "candela.db")) as database:
        rows = {name: database.execute(query, (ids[name],)).fetchone() for name in homes.RESUMABLE}
        source = database.execute(query, (ids["finished"],)).fetchone()
    found = {
        name: {"snapshot": f"store/{key}", "dataset": f"store/{packed}", "spec": json.loads(spec), "source": None}
        for name, (key, packed, spec) in rows.items()
    }
    found["successor"] = {**found["continued"], "snapshot": None, "source": f"store/{source[0]}"}
    return found


def find_bundle_key(home: Path) -> str:
    """Return where the store has the model of the finished job."""
    with closing(sqlite3.connect(home / "candela.db")) as database:
        key: str = database.execute("SELECT key FROM model_version WHERE name = 'finished'").fetchone()[0]
    return key


def fingerprint_with(settings: Mapping[str, str]) -> str:
    """Return the fingerprint of a process with these settings."""
    command = "from tests.compatibility.homes import fingerprint_arithmetic; print(fingerprint_arithmetic())"
    environment = {**os.environ, **settings}
    run = subprocess.run(
        [sys.executable, "-c", command], env=environment, cwd=homes.ROOT, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def record_results(ids: Mapping[str, str], code: Path, name: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """Resume the paused jobs with the code of version 0.1; return what comes of it, and write the weights."""
    with tempfile.TemporaryDirectory() as folder:
        home = homes.unpack(homes.HOME, Path(folder) / "home")
        with homes.run_service(home, code, settings) as client:
            jobs = homes.finish_all_jobs(client, ids)
            assert all(job["state"] == "succeeded" for job in jobs.values()), [job["failure"] for job in jobs.values()]
            results = {job: homes.read_result(client, found) for job, found in jobs.items()}
            tensors: dict[str, Tensor] = {}
            for job, found in jobs.items():
                weights = homes.read_weights(client, found["model"])
                tensors |= {f"{job}/{key}": value.contiguous() for key, value in weights.items()}
    file = f"weights-{name}.safetensors"
    save_file(tensors, homes.DATA / file)
    capability = jobs["image"]["runtime"]["device_name"]
    processor = {"name": name, "capability": capability, "torch": torch.__version__}
    return {"processors": {fingerprint_with(settings): processor}, "weights": file, "jobs": results}


def merge_equal_records(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep one record of processors that computed the same; delete the weights of the others."""
    unique: list[dict[str, Any]] = []
    for record in records:
        same = next((other for other in unique if other["jobs"] == record["jobs"]), None)
        if same is None:
            unique.append(record)
        else:
            same["processors"] |= record["processors"]
            (homes.DATA / record["weights"]).unlink()
    return unique


if __name__ == "__main__":
    main()
