"""Labels, groups and near-equal images with real processes: upload, import, training, prediction, evaluation."""

import csv
import io
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.images import encode_image, write_zip
from tests.support.near_images import brighten, build_images
from tests.support.processes import wait_for
from tests.support.stack import Stack

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]

NUM_IMAGES, GROUP_SIZE = 60, 4
NETWORK = {"name": "mlp", "hidden": [8]}


def write_archive(path: Path) -> bytes:
    """Write flat images with groups of four, a brighter copy in a group of its own, and `labels.csv`."""
    images = list(build_images(NUM_IMAGES))
    images.append(brighten(images[0]))
    rows = [f"{number:02d},{'ab'[number % 2]},p{number // GROUP_SIZE}\n" for number in range(len(images))]
    files = {f"images/{number:02d}.png": encode_image(image[..., 0]) for number, image in enumerate(images)}
    return write_zip(path, files | {"labels.csv": ("name,label,group\n" + "".join(rows)).encode()}).read_bytes()


def run_job(stack: Stack, **body: Any) -> dict[str, Any]:
    """Run a job and return it when it has ended."""
    response = stack.http.post("/v1/jobs", json={"threads": 1, **body})
    assert response.status_code == 202, response.text
    stack.wait_for_end(response.json()["id"])
    job: dict[str, Any] = stack.http.get(f"/v1/jobs/{response.json()['id']}").json()
    assert job["state"] == "succeeded", job["failure"]
    return job


def list_names(stack: Stack, split: str) -> set[int]:
    """Predict a split and return the numbers of its images."""
    job = run_job(stack, kind="predict", model="sets@1", dataset={"name": "sets"}, split=split)
    content: httpx.Response = stack.http.get(f"/v1/jobs/{job['id']}/artifacts/predictions.csv")
    assert content.status_code == 200, content.text
    return {int(Path(row["name"]).stem) for row in csv.DictReader(io.StringIO(content.text))}


@pytest.fixture(scope="module")
def version(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    body = write_archive(tmp_path_factory.mktemp("archive") / "sets.zip")
    response = stack.http.post("/v1/datasets/sets/versions", content=body, headers={"Content-Type": "application/zip"})
    assert response.status_code == 202, response.text

    def get_imported_version() -> dict[str, Any] | None:
        found: dict[str, Any] = stack.http.get(response.headers["location"]).json()
        return None if found["state"] == "importing" else found

    return wait_for(get_imported_version, "the import", 120)


def test_groups_and_near_equal_images_are_in_one_split(stack: Stack, version: dict[str, Any]) -> None:
    assert (version["state"], version["classes"], version["grouped"]) == ("ready", ["a", "b"], True)
    report = stack.http.get("/v1/datasets/sets/versions/1/report").json()
    [[original, copy]] = report["near_duplicates"]["items"]
    assert (original["name"], copy["name"]) == ("images/00.png", "images/60.png")
    assert report["groups"] == {"num_groups": 16, "largest": 4}
    shares = {"name": "sets", "valid": 0.2, "test": 0.2}
    job = run_job(stack, name="sets", dataset=shares, architecture=NETWORK, epochs=1, seed=5, batch_size=8)
    splits = {split: list_names(stack, split) for split in ("train", "valid", "test")}
    assert sum(map(len, splits.values())) == NUM_IMAGES + 1
    groups = [{number // GROUP_SIZE for number in numbers} for numbers in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 16
    assert sum({0, 60} <= numbers for numbers in splits.values()) == 1
    assert [10 <= len(splits[split]) <= 14 for split in ("valid", "test")] == [True, True]
    evaluate = run_job(stack, kind="evaluate", model="sets@1", dataset={"name": "sets"}, split="valid")
    assert evaluate["result"]["num_samples"] == len(splits["valid"])
    assert evaluate["result"]["metrics"]["loss"] == pytest.approx(job["metrics"]["valid_loss"], rel=1e-4)


def test_a_job_trains_on_all_samples(stack: Stack, version: dict[str, Any]) -> None:
    dataset = {"name": "sets", "version": version["version"], "valid": 0}
    body = {"name": "all", "dataset": dataset, "architecture": NETWORK, "epochs": 2, "batch_size": 8}
    refused = stack.http.post("/v1/jobs", json=body | {"callbacks": [{"name": "keep_best", "monitor": "valid_loss"}]})
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/callbacks/0/monitor"]
    job = run_job(stack, **body, callbacks=[{"name": "keep_best"}, {"name": "csv_logger"}])
    assert set(job["metrics"]) == {"train_loss", "train_accuracy"}
    assert job["metrics_best"]["metrics"].keys() == {"train_loss", "train_accuracy"}
    text = stack.http.get(f"/v1/jobs/{job['id']}/artifacts/metrics.csv").text.splitlines()
    assert [line.split(",")[:2] for line in text] == [["epoch", "set"], ["1", "train"], ["2", "train"]]
    assert stack.http.get("/v1/models/all").json()["versions"]
