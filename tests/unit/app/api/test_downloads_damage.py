"""A damaged file is neither sent nor used: its sha256 is checked whenever it is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from models.bundle import DESCRIPTION, WEIGHTS
from tests.support.finished import FinishedJob, finish_job
from tests.support.images import random_png


@pytest.fixture
def finished_job(state: State, post_job: Callable[..., dict[str, Any]]) -> FinishedJob:
    return finish_job(state, post_job()["id"])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("range_", [None, "bytes=0-3"])
def test_damaged_weights_are_not_sent(
    client: TestClient, state: State, finished_job: FinishedJob, damage: str, range_: str | None
) -> None:
    DAMAGES[damage](state.storage.fetch_file(f"jobs/{finished_job.job_id}/c1/{WEIGHTS}"))
    headers = {} if range_ is None else {"Range": range_}
    response = client.get(f"/v1/jobs/{finished_job.job_id}/checkpoints/1/weights", headers=headers)
    assert (response.status_code, response.json()["type"]) == (500, "/problems/corrupt")
    assert client.get("/v1/models/digits/versions/1/bundle").status_code == 200


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", [WEIGHTS, DESCRIPTION])
def test_a_damaged_bundle_is_neither_sent_nor_used(
    client: TestClient, state: State, finished_job: FinishedJob, damage: str, file: str
) -> None:
    DAMAGES[damage](state.storage.fetch_file(f"jobs/{finished_job.job_id}/bundle/{file}"))
    sent = client.get("/v1/models/digits/versions/1/bundle")
    assert (sent.status_code, sent.json()["type"]) == (500, "/problems/corrupt")
    requested = client.post(
        "/v1/models/digits/predict",
        content=random_png(height=8, width=8, channels=1),
        headers={"Content-Type": "image/png"},
    )
    assert (requested.status_code, requested.json()["type"]) == (500, "/problems/corrupt")


def test_swapped_files_are_not_sent(
    client: TestClient, state: State, finished_job: FinishedJob, tmp_path: Path
) -> None:
    weights = state.storage.fetch_file(f"jobs/{finished_job.job_id}/bundle/{WEIGHTS}")
    description = state.storage.fetch_file(f"jobs/{finished_job.job_id}/bundle/{DESCRIPTION}")
    weights.rename(tmp_path / "swapped")
    description.rename(weights)
    (tmp_path / "swapped").rename(description)
    assert client.get("/v1/models/digits/versions/1/bundle").status_code == 500
