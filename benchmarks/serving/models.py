"""The two networks, trained by short jobs of the service itself and kept under `var/serving`, and what is sent to them.

SMALL: 28x28 grey, convolutions 32 and 64, linear layers 128 and 10. CONV5: the workshop's convnet, 64x64 RGB, 200
classes, 8.57 M parameters. Their accuracy does not matter here, only that they are networks that learnt something.
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


def ensure(url: str, model: Model) -> Path:
    """Have the model registered, training it where it is not; returns a folder with its first version's bundle."""
    with Client(url) as client:
        known = {one["name"]: one for one in client.models.list()}
        have = len(known[model.name]["versions"]) if model.name in known else 0
        for seed in range(have, model.num_versions):
            job = client.jobs.submit({"name": model.name, "model": model.name, "seed": seed, **model.job})
            job.wait(timeout_s=JOB_WITHIN_S).check()
        folder = PLACE / "bundles" / model.name
        folder.mkdir(parents=True, exist_ok=True)
        archive = client.models.bundle(model.name, 1, folder / "bundle.zip")
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)
    return folder


def picture(model: Model) -> tuple[bytes, np.ndarray]:
    """A smooth picture with some noise, as a file, and its pixels as uint8 (H, W, C)."""
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
    """What a request carries, in a file for the load generators."""

    path: Path
    content_type: str

    def to(self, url: str) -> Target:
        return Target(url, self.content_type, self.path)


def bodies(model: Model) -> dict[str, Body]:
    """The same picture as a form, as it is, and as the Open Inference Protocol has it: a tensor, or base64."""
    file, pixels = picture(model)
    media_type = f"image/{model.image_format.lower()}"
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="a"\r\nContent-Type: {media_type}'
    form = f"{head}\r\n\r\n".encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *pixels.shape], "data": pixels.reshape(-1).tolist()}
    encoded = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"},
               "data": [base64.b64encode(file).decode()]}  # fmt: skip
    outputs = [{"name": "probabilities"}]
    words = {
        "form": (form, f"multipart/form-data; boundary={BOUNDARY}"),
        "picture": (file, media_type),
        "tensor": (json.dumps({"inputs": [tensor], "outputs": outputs}).encode(), "application/json"),
        "base64": (json.dumps({"inputs": [encoded], "outputs": outputs}).encode(), "application/json"),
    }
    folder = PLACE / "bodies" / model.name
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for name, (content, content_type) in words.items():
        (folder / name).write_bytes(content)
        made[name] = Body(folder / name, content_type)
    return made


def best_class(answer: bytes) -> tuple[int, float]:
    """The most probable class and its probability, whichever of the servers said it."""
    words = json.loads(answer)
    if "outputs" in words:
        probabilities = words["outputs"][0]["data"]
        best = int(np.argmax(probabilities))
        return best, float(probabilities[best])
    first = words["predictions"][0] if "predictions" in words else words[0] if isinstance(words, list) else words
    return int(first["index"]), float(first["probability"])
