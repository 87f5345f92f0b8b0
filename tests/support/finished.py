"""Finishes a job as a worker does: metrics, log, checkpoint and model, with real files."""

import hashlib
import json
from typing import Any, NamedTuple

import numpy as np
import torch

from app.state import State
from core.datasets.image_preview import PREVIEW_FILE
from core.datasets.packed import PackedMeta
from core.datasets.packed_writer import PackedWriter
from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.metrics import MetricPoint, MetricRepo
from core.db.repos.models import ModelRepo
from core.db.session import transaction
from core.db.tables import DatasetVersionRow, ModelVersionRow
from core.events import EventType
from core.jobs import DatasetState
from core.spec import JobSpec
from models import bundle, registry
from tests.support.images import random_png

OPTIONS: dict[str, Any] = {"hidden": [8]}
SHAPE = (1, 8, 8)
NUM_SAMPLES = 1797
PACKED_KEY = "datasets/digits/t1"
CLASSES = [str(digit) for digit in range(10)]
NUM_SAMPLES = 1797


class FinishedJob(NamedTuple):
    job_id: str
    weights: bytes
    sha256: str


def finish_job(state: State, job_id: str, *, name: str = "digits", num_points: int = 20) -> FinishedJob:
    """Finish a queued job on `digits` with an `mlp`, and register its model as a version of `name`."""
    torch.manual_seed(0)
    network = registry.build_network("mlp", OPTIONS, SHAPE, 10)
    files, packed = _publish_files(state, job_id, network), _publish_dataset(state)
    with transaction(state.sessions) as session:
        for version in session.query(DatasetVersionRow):
            version.state, version.content_hash, version.meta = (
                DatasetState.READY,
                "c" * 64,
                _META | packed,
            )
            version.packed_key = PACKED_KEY
    with transaction(state.sessions) as session:
        attempts = AttemptRepo(session)
        claimed = attempts.claim(job_id, "worker-1", 30)
        assert claimed is not None
        token = claimed.token
        attempts.set_runtime(job_id, token, {"device": "cpu", "num_parameters": 658})
        points = [
            MetricPoint(
                split, "loss", step, 1 + step // 10, None if step == 3 else 1 / step, "NaN" if step == 3 else None
            )
            for split in ("train", "valid")
            for step in range(1, num_points + 1)
        ]
        MetricRepo(session).upsert(job_id, points)
        logs = [{"level": "info", "message": f"epoch {epoch} of 2"} for epoch in (1, 2)]
        EventRepo(session).append(job_id, [(EventType.LOG, log) for log in logs])
        metrics = {"valid_loss": 0.05, "train_loss": "NaN"}
        CheckpointRepo(session).add(
            job_id,
            token,
            number=1,
            epoch=2,
            step=20,
            metrics=metrics,
            tags=("best",),
            key=f"jobs/{job_id}/c1",
            files=files,
        )
        model = ModelRepo(session).register(
            _build_version(job_id, name, files, JobRepo(session).get(job_id).spec), token
        )
        attempts.complete_with_model(job_id, token, model.version, metrics, None)
    path = state.storage.fetch_file(f"jobs/{job_id}/c1/{bundle.WEIGHTS}")
    return FinishedJob(job_id, path.read_bytes(), files[bundle.WEIGHTS]["sha256"])


def _publish_dataset(state: State) -> dict[str, Any]:
    """Publish a packed dataset of random images with a contact sheet, once."""
    if next(state.storage.list_keys(PACKED_KEY), None) is None:
        folder = state.storage.create_scratch_folder() / "packed"
        writer = PackedWriter(folder, task="classification", classes=CLASSES, num_outputs=10, image_shape=SHAPE)
        images = np.random.default_rng(0).integers(0, 256, (NUM_SAMPLES, 8, 8, 1)).astype(np.uint8)
        names = [f"{number}.png" for number in range(NUM_SAMPLES)]
        writer.append_chunk("train", images, np.arange(NUM_SAMPLES) % 10, names)
        writer.finish_dataset()
        (folder / PREVIEW_FILE).write_bytes(random_png())
        state.storage.publish(folder, PACKED_KEY)
    files = {}
    for key in state.storage.list_keys(PACKED_KEY):
        body = state.storage.fetch_file(key).read_bytes()
        files[key.rsplit("/", 1)[-1]] = {"sha256": hashlib.sha256(body).hexdigest(), "size_bytes": len(body)}
    return {"files": files}


def _publish_files(state: State, job_id: str, network: torch.nn.Module) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for key in ("c1", "bundle"):
        folder = state.storage.create_scratch_folder() / "bundle"
        folder.mkdir()
        files = {
            name: {"sha256": sha, "size_bytes": size}
            for name, (sha, size) in bundle.save_bundle(folder, network, _DESCRIPTION).items()
        }
        state.storage.publish(folder, f"jobs/{job_id}/{key}")
    return files


_META = PackedMeta(
    task="classification",
    classes=tuple(CLASSES),
    num_outputs=10,
    image_shape=SHAPE,
    splits={"train": NUM_SAMPLES},
    mean=(0.5,),
    std=(0.25,),
    resize="stretch",
    content_hash="c" * 64,
).model_dump(mode="json")
_DESCRIPTION = bundle.BundleDescription(
    architecture=bundle.ArchitectureChoice(name="mlp", options=OPTIONS),
    image_shape=SHAPE,
    num_outputs=10,
    task="classification",
    classes=CLASSES,
    mean=[0.5],
    std=[0.25],
)


def _build_version(job_id: str, name: str, files: dict[str, Any], spec: dict[str, Any]) -> ModelVersionRow:
    return ModelVersionRow(
        name=name,
        job_id=job_id,
        key=f"jobs/{job_id}/bundle",
        files=files,
        sha256=files[bundle.WEIGHTS]["sha256"],
        size_bytes=sum(file["size_bytes"] for file in files.values()),
        bundle=json.loads(_DESCRIPTION.model_dump_json()),
        spec=JobSpec.model_validate(spec).model_dump(mode="json"),
        metrics={"valid_accuracy": 0.97},
        dataset={"name": "digits", "version": 1, "content_hash": "c" * 64},
        num_parameters=658,
    )
