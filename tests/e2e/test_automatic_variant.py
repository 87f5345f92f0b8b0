"""With `CANDELA_PREDICT_VARIANT=auto`, a training is followed by the choice of a variant, which then serves."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from candela import Client
from tests.e2e.conftest import services
from tests.support.images import encode_image
from tests.support.processes import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(400)]

SPEC: dict[str, Any] = {
    "name": "digits",
    "dataset": {"name": "digits"},
    "architecture": {"name": "convnet", "channels": [16, 32], "batch_norm": True, "head": [32]},
    "epochs": 4,
    "seed": 5,
    "device": "cpu",
    "threads": 1,
}
NUM_SAMPLES = 8
ROUNDING = 1e-3  # batches of other sizes are summed in another order


def test_the_chosen_variant_serves_after_a_training(tmp_path: Path) -> None:
    settings = {"CANDELA_PREDICT_VARIANT": "auto", "CANDELA_PREDICT_DEVICES": "cpu"}
    with services() as start:
        service = start(tmp_path / "home", **settings)
        with Client(service.url, timeout_s=120, max_attempts=8) as client:
            client.jobs.submit(SPEC).wait(120).raise_for_failure()
            (job,) = client.jobs.list(kind="variant")
            result = job.wait(200).raise_for_failure().result
            assert result is not None
            outcomes = {entry["format"]: entry["outcome"] for entry in result["candidates"]}
            assert outcomes.keys() == {"onnx", "openvino", "int8"}
            assert "failed" not in outcomes.values(), result["candidates"]
            chosen = result["format"]
            variants = client.models.variants("digits", 1)
            assert [(one["format"], one["chosen_by"]) for one in variants] == ([(chosen, "auto")] if chosen else [])
            images, scores = read_valid_samples(client, tmp_path)
            file = encode_image(images[0, :, :, 0])
            wait_for(lambda: get_variant(client, file) == chosen, "the variant to serve", 30)
            network = client.models.predict("digits", file, variant="none")
            assert network["model"] == {"name": "digits", "version": 1, "variant": None}
            served = infer_logits(service.url, images)
            bound = ROUNDING + (result["max_logit_difference"] if chosen else 0)
            assert np.abs(served - scores).max() <= bound


def get_variant(client: Client, file: bytes) -> Any:
    """Return the variant that serves the model by default."""
    response: Any = client.models.predict("digits", file)
    return response["model"]["variant"]


def read_valid_samples(client: Client, folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return images of the validation split, (B, 8, 8, 1), and the raw scores that the network computes for them."""
    spec = {"kind": "predict", "model": "digits@1", "dataset": {"name": "digits"}, "split": "valid", "scores": True}
    job = client.jobs.submit(spec).wait(120).raise_for_failure()
    lines = job.download_file("predictions.jsonl", folder / "predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines[:NUM_SAMPLES]]
    images = [client.datasets.sample_image("digits", 1, "train", int(row["name"])) for row in rows]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("L")) for image in images])
    return pixels[..., None], np.array([row["scores"] for row in rows], np.float32)


def infer_logits(url: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the raw scores of what serves the model by default, over the Open Inference Protocol."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(images.shape), "data": images.ravel().tolist()}
    body = {"inputs": [tensor], "outputs": [{"name": "logits"}]}
    response = httpx.post(f"{url}/v2/models/digits/infer", json=body, timeout=60)
    assert response.status_code == 200, response.text
    return np.array(response.json()["outputs"][0]["data"], np.float32).reshape(len(images), -1)
