"""The two models of the benchmark, trained by short jobs of the service, and their request bodies.

SMALL: 28x28 grayscale, convolutions 32 and 64, linear layers 128 and 10. CONV5: the workshop's convnet, 64x64 RGB, 200
classes, 8.57 M parameters. Their accuracy does not matter here. Their files are kept in `var/serving`.
"""

import base64
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.serving.environments import PLACE
from benchmarks.serving.load import Target
from candela import Client

BOUNDARY = "benchmark-4f1c"
JOB_WITHIN_S = 1200


@dataclass(frozen=True)
class Model:
    name: str
    image_shape: tuple[int, int, int]
    job: dict[str, object]
    image_format: str
    num_versions: int = 1


SMALL = Model(
    "small",
    (1, 28, 28),
    {
        "dataset": {"name": "synthetic", "image_shape": [1, 28, 28], "num_samples": 4000, "valid": 0.1},
        "architecture": {"name": "convnet", "channels": [32, 64], "head": [128]},
        "epochs": 2,
        "batch_size": 64,
    },
    "PNG",
    num_versions=2,
)
CONV5 = Model(
    "conv5",
    (3, 64, 64),
    {
        "dataset": {"name": "synthetic", "image_shape": [3, 64, 64], "num_classes": 200, "num_samples": 2200,
                    "valid": 0.1},
        "architecture": {"name": "convnet", "channels": [64, 128, 256, 512, 1024], "head": [1024, 1024]},
        "epochs": 2,
        "batch_size": 32,
    },
    "JPEG",
)  # fmt: skip
MODELS = {model.name: model for model in (SMALL, CONV5)}


def train_if_missing(url: str, model: Model) -> Path:
    """Train the model if it is not registered, and return a folder with the bundle of its first version."""
    with Client(url) as client:
        existing = {one["name"]: one for one in client.models.list()}
        num_existing = len(existing[model.name]["versions"]) if model.name in existing else 0
        for seed in range(num_existing, model.num_versions):
            job = client.jobs.submit({"name": model.name, "model": model.name, "seed": seed, **model.job})
            job.wait(timeout_s=JOB_WITHIN_S).raise_for_failure()
        folder = PLACE / "bundles" / model.name
        folder.mkdir(parents=True, exist_ok=True)
        archive = client.models.download_bundle(model.name, 1, folder / "bundle.zip")
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)
    return folder


def make_image(model: Model) -> tuple[bytes, np.ndarray]:
    """Return a smooth image with some noise as a file, and its pixels as uint8 (H, W, C)."""
    channels, height, width = model.image_shape
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.clip(np.asarray(image, np.int16) + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(file, model.image_format)
    with Image.open(io.BytesIO(file.getvalue())) as read:
        return file.getvalue(), np.asarray(read).reshape(height, width, channels)


@dataclass(frozen=True)
class Body:
    """A request body in a file for the load generators."""

    path: Path
    content_type: str

    def to_target(self, url: str) -> Target:
        return Target(url, self.content_type, self.path)


def make_bodies(model: Model) -> dict[str, Body]:
    """Write the bodies for one image: a form, the file itself, and a tensor and base64 for /v2."""
    file, pixels = make_image(model)
    media_type = f"image/{model.image_format.lower()}"
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="a"\r\nContent-Type: {media_type}'
    form = f"{head}\r\n\r\n".encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *pixels.shape], "data": pixels.reshape(-1).tolist()}
    encoded = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"},
               "data": [base64.b64encode(file).decode()]}  # fmt: skip
    outputs = [{"name": "probabilities"}]
    contents = {
        "form": (form, f"multipart/form-data; boundary={BOUNDARY}"),
        "image": (file, media_type),
        "tensor": (json.dumps({"inputs": [tensor], "outputs": outputs}).encode(), "application/json"),
        "base64": (json.dumps({"inputs": [encoded], "outputs": outputs}).encode(), "application/json"),
    }
    folder = PLACE / "bodies" / model.name
    folder.mkdir(parents=True, exist_ok=True)
    bodies_by_name = {}
    for name, (content, content_type) in contents.items():
        (folder / name).write_bytes(content)
        bodies_by_name[name] = Body(folder / name, content_type)
    return bodies_by_name


def parse_best_class(body: bytes) -> tuple[int, float]:
    """Return the most probable class and its probability from the response of any of the servers."""
    contents = json.loads(body)
    if "outputs" in contents:
        probabilities = contents["outputs"][0]["data"]
        best = int(np.argmax(probabilities))
        return best, float(probabilities[best])
    first = (
        contents["predictions"][0]
        if "predictions" in contents
        else contents[0]
        if isinstance(contents, list)
        else contents
    )
    return int(first["index"]), float(first["probability"])
