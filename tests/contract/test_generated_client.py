"""A client that is generated from the committed OpenAPI document uploads, submits and predicts."""

import importlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.state import State
from tests.support.finished import finish_job
from tests.support.http_service import SMALL

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
PACKAGE = "generated_candela_client"


@pytest.fixture(scope="module")
def import_generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that imports a module of the generated package."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "config.yml").write_text("post_hooks: []\n")
    generator = Path(sys.executable).with_name("openapi-python-client")
    command: list[str | Path] = [
        generator,
        "generate",
        "--path",
        DOCUMENT,
        "--meta",
        "none",
        "--output-path",
        folder / PACKAGE,
    ]
    run = subprocess.run(
        [*command, "--config", folder / "config.yml"], capture_output=True, text=True, timeout=120, cwd=folder
    )
    assert run.returncode == 0, run.stdout + run.stderr
    skipped = [
        line for line in run.stdout.splitlines() if "Endpoint will not" in line or line.startswith("Unable to p")
    ]
    assert not skipped, "the generator does not support parts of the document"
    sys.path.insert(0, str(folder))
    yield lambda module: importlib.import_module(f"{PACKAGE}.{module}")
    sys.path.remove(str(folder))


@pytest.fixture
def api(import_generated: Any, client: TestClient) -> Any:
    """The generated client, connected to the service in this process."""
    return import_generated("client").Client(base_url="http://testserver").set_httpx_client(client)


def encode_image(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def build_archive() -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as opened:
        for number in range(8):
            opened.writestr(f"{'ab'[number % 2]}/{number}.png", encode_image(number))
    return file.getvalue()


def test_the_client_submits_a_job_and_reads_it(import_generated: Any, api: Any) -> None:
    spec = import_generated("models.job_spec").JobSpec.from_dict(SMALL | {"optimizer": {"name": "sgd", "lr": 0.1}})
    job = import_generated("api.jobs.submit_job").sync(client=api, body=spec)
    assert job.state == "queued"
    job_out = import_generated("api.jobs.show_job").sync(job_id=job.id, client=api)
    assert job_out.spec.optimizer.lr == 0.1
    listed = import_generated("api.jobs.list_jobs").sync(client=api)
    assert [item.id for item in listed.items] == [job.id]


def test_the_client_reads_a_problem(import_generated: Any, api: Any) -> None:
    problem = import_generated("api.jobs.show_job").sync(job_id="0123", client=api)
    assert (problem.status, problem.type_) == (404, "/problems/not-found")


@pytest.mark.parametrize("form", ["raw", "multipart"])
def test_the_client_uploads_a_dataset(import_generated: Any, api: Any, form: str) -> None:
    file = import_generated("types").File(payload=io.BytesIO(build_archive()), file_name="pictures.zip")
    body = (
        file
        if form == "raw"
        else import_generated("models.upload_dataset_files_body").UploadDatasetFilesBody(file=file)
    )
    version = import_generated("api.datasets.upload_dataset").sync(name="mine", client=api, body=body)
    assert (version.version, version.state) == (1, "importing")


def test_the_client_predicts_an_image(import_generated: Any, api: Any, client: TestClient, state: State) -> None:
    finish_job(state, client.post("/v1/jobs", json=SMALL).json()["id"])
    file = import_generated("types").File(
        payload=io.BytesIO(encode_image(1)), file_name="one.png", mime_type="image/png"
    )
    body = import_generated("models.predict_files_body").PredictFilesBody(images=[file])
    predictions = import_generated("api.models.predict").sync(ref="digits", client=api, body=body, top_k=3)
    assert (predictions.model.name, predictions.model.version) == ("digits", 1)
    (prediction,) = predictions.predictions
    assert len(prediction.top_k) == 3
    assert client.portal is not None
    client.portal.call(state.model_server.close)
