"""A registered network over HTTP, the SDK and the command line: it predicts, and jobs use it like a trained model."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from candela import CandelaError, Client
from models import registry
from tests.e2e.conftest import Service
from tests.support.images import encode_image

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(280)]

CONVNET: dict[str, Any] = {"name": "convnet", "channels": [4, 8], "batch_norm": True, "head": [6]}
CLASSES = ["a", "b", "c", "d"]
FIELDS: dict[str, Any] = {
    "image_shape": [3, 8, 8],
    "classes": CLASSES,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.2, 0.2],
}
DATASET = {"name": "synthetic", "image_shape": [3, 8, 8], "num_classes": 4, "num_samples": 256}


def build_network() -> torch.nn.Module:
    torch.manual_seed(3)
    options = {name: value for name, value in CONVNET.items() if name != "name"}
    return registry.build_network("convnet", options, (3, 8, 8), 4).eval()


def test_a_registered_network_is_a_model_like_any_other(shared_up: Callable[..., Service], tmp_path: Path) -> None:
    service = shared_up()
    weights_dir = service.home / "datasets" / "weights"
    weights_dir.mkdir(parents=True)
    network = build_network()
    save_file(dict(network.state_dict()), weights_dir / "shapes.safetensors")
    with Client(service.url, timeout_s=120, max_attempts=8) as client:
        job = (
            client.models.register("shapes", CONVNET, "file:shapes.safetensors", **FIELDS).wait(120).raise_for_failure()
        )
        assert job.model == {"name": "shapes", "version": 1}
        version = client.models.get_version("shapes", 1)
        assert (version["dataset"], version["spec"]["kind"], version["classes"]) == (None, "register", CLASSES)
        check_prediction(client, network)
        check_jobs(client)
        check_cached_head(client, version["sha256"])
        check_archive(service, tmp_path)
        missing = client.models.register("absent", CONVNET, "file:absent.safetensors", **FIELDS).wait(120)
        assert missing.state == "failed"
        failure = missing.response["failure"]
        assert failure is not None
        assert "absent.safetensors" in failure["message"]


def check_prediction(client: Client, network: torch.nn.Module) -> None:
    """The probabilities are those of the network on normalized pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    [prediction] = client.models.predict("shapes", encode_image(Image.fromarray(pixels)), top_k=4)["predictions"]
    inputs = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(FIELDS[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        expected = torch.softmax(network((inputs - mean) / std), 1)[0]
    found = {entry["label"]: entry["probability"] for entry in prediction["top_k"]}
    assert found == pytest.approx(dict(zip(CLASSES, expected.tolist(), strict=True)), abs=1e-4)


def check_jobs(client: Client) -> None:
    """Other jobs read the model: predictions of a dataset, and a variant, which needs a dataset."""
    job = client.jobs.submit({"kind": "predict", "model": "shapes@1", "dataset": DATASET, "split": "valid"})
    assert job.wait(120).raise_for_failure().result is not None
    with pytest.raises(CandelaError, match="is required: the version was registered without training"):
        client.models.create_variant("shapes", 1, "onnx")


def check_cached_head(client: Client, sha256: str) -> None:
    """A training starts from the model, and trains its head with cached features."""
    spec = {
        "name": "head",
        "dataset": DATASET,
        "architecture": CONVNET,
        "init_from": "shapes@1",
        "freeze": ["features.*"],
        "epochs": 3,
        "device": "cpu",
        "threads": 1,
    }
    jobs = [
        client.jobs.submit({**spec, "cache_features": choice}).wait(120).raise_for_failure() for choice in (True, False)
    ]
    responses: list[Any] = [job.response for job in jobs]
    reports = [response["runtime"].get("cached_features") for response in responses]
    assert reports[0]["used"] is True
    assert reports[1] is None
    versions = [client.models.get_version("head", number) for number in (1, 2)]
    assert versions[0]["sha256"] == versions[1]["sha256"] != sha256


def check_archive(service: Service, tmp_path: Path) -> None:
    """The images of an archive are predicted, although the model has no dataset."""
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one.png", encode_image(Image.new("RGB", (20, 10), "red")))
    with Client(service.url, timeout_s=120, max_attempts=8) as client:
        job = client.models.predict_archive("shapes", path).wait(120).raise_for_failure()
        assert job.result is not None
        assert job.result["num_pictures"] == 1
        assert job.response["spec"]["dataset"] is None
