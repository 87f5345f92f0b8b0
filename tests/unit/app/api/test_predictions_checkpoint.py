"""`POST /v1/jobs/{job_id}/predict`: predictions with a checkpoint, also while the job runs."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.state import State
from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.session import transaction
from core.db.tables import CheckpointRow, DatasetVersionRow
from core.jobs import DatasetState
from models import bundle
from tests.support import bundles
from tests.support.finished import finish_job

META = {
    "task": "classification",
    "classes": bundles.CLASSES,
    "num_outputs": 3,
    "image_shape": [1, 8, 8],
    "resize": "stretch",
}


class Running:
    """A running job to which checkpoints can be added."""

    def __init__(self, state: State, job_id: str) -> None:
        self.state, self.job_id = state, job_id
        with transaction(state.sessions) as session:
            for version in session.query(DatasetVersionRow):
                version.state, version.meta = DatasetState.READY, META
        with transaction(state.sessions) as session:
            claimed = AttemptRepo(session).claim(job_id, "worker-1", 30)
            assert claimed is not None
            self.token = claimed.token

    def add(self, number: int, *tags: str, files: tuple[str, ...] | None = None) -> None:
        key = f"jobs/{self.job_id}/t{self.token}/checkpoints/{number}"
        ref = bundles.store_bundle(self.state.storage, key, seed=number)
        stored = {name: {"sha256": sha256, "size_bytes": 1} for name, sha256 in ref.files if not files or name in files}
        bundle_description: dict[str, Any] = {
            "epoch": number,
            "step": 10 * number,
            "metrics": {},
            "tags": tags,
            "key": key,
        }
        with transaction(self.state.sessions) as session:
            CheckpointRepo(session).add(self.job_id, self.token, number=number, files=stored, **bundle_description)


@pytest.fixture
def running(state: State, post_job: Callable[..., dict[str, Any]]) -> Running:
    return Running(state, str(post_job()["id"]))


def send(client: TestClient, job_id: str, **params: Any) -> Any:
    file = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3).save(file, "PNG")
    headers = {"Content-Type": "image/png"}
    return client.post(f"/v1/jobs/{job_id}/predict", content=file.getvalue(), params=params, headers=headers)


def compute_expected(seed: int) -> np.ndarray:
    """Return the probabilities of the network of a checkpoint, computed without the service."""
    import torch

    bundle_description = bundles.build_description()
    pixels = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8, 1) * 3
    with torch.inference_mode():
        scores = bundles.build_network(bundle_description, seed)(bundle_description.build_preprocessing()(pixels))
    return np.asarray(torch.softmax(scores[0], 0).numpy())


@pytest.mark.parametrize(("which", "number"), [("latest", 3), ("best", 2)])
def test_the_requested_checkpoint_is_used(client: TestClient, running: Running, which: str, number: int) -> None:
    for each in (1, 2, 3):
        running.add(each, *(("best",) if each == 2 else ()))
    response = send(client, running.job_id, checkpoint=which, top_k=3)
    assert response.status_code == 200, response.text
    body = response.json()["checkpoint"]
    assert (body["job_id"], body["checkpoint"], body["step"]) == (running.job_id, number, 10 * number)
    with transaction(running.state.sessions, read_only=True) as session:
        row = session.get(CheckpointRow, (running.job_id, number))
        assert row is not None
        assert body["sha256"] == row.files[bundle.WEIGHTS]["sha256"]
    (prediction,) = response.json()["predictions"]
    found = {one["index"]: one["probability"] for one in prediction["top_k"]}
    np.testing.assert_allclose([found[place] for place in range(3)], compute_expected(number), atol=1e-5)


def test_a_checkpoint_averages_the_scores_of_views(client: TestClient, running: Running) -> None:
    running.add(1)
    plain, mirrored = (
        send(client, running.job_id, top_k=3, **views) for views in ({}, {"test_time_augmentation": "mirror"})
    )
    assert (plain.status_code, mirrored.status_code) == (200, 200)
    assert plain.json()["predictions"] != mirrored.json()["predictions"]


def test_a_newer_checkpoint_is_used_once_it_is_stored(client: TestClient, running: Running) -> None:
    running.add(1)
    assert send(client, running.job_id).json()["checkpoint"]["checkpoint"] == 1
    running.add(2)
    assert send(client, running.job_id).json()["checkpoint"]["checkpoint"] == 2


def test_a_job_without_a_checkpoint_is_a_409(client: TestClient, running: Running) -> None:
    response = send(client, running.job_id)
    assert (response.status_code, response.json()["facts"]["state"]) == (409, "running")
    running.add(1)
    assert send(client, running.job_id, checkpoint="best").status_code == 409
    assert send(client, running.job_id, checkpoint="7").status_code == 422
    assert send(client, "0" * 32).status_code == 404


def test_a_checkpoint_without_a_bundle_is_rejected(client: TestClient, running: Running) -> None:
    running.add(1, files=(bundle.WEIGHTS,))
    response = send(client, running.job_id)
    assert (response.status_code, "bundle.json" in response.json()["detail"]) == (409, True)


def test_damaged_weights_are_detected(client: TestClient, running: Running) -> None:
    running.add(1)
    path = running.state.storage.fetch_file(f"jobs/{running.job_id}/t{running.token}/checkpoints/1/{bundle.WEIGHTS}")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert send(client, running.job_id).status_code == 500


def test_a_finished_job_predicts_too(client: TestClient, state: State, post_job: Callable[..., dict[str, Any]]) -> None:
    finished = finish_job(state, post_job()["id"])
    assert send(client, finished.job_id, checkpoint="best").json()["checkpoint"]["checkpoint"] == 1
