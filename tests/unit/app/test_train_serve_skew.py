"""Training and serving see the same pixels: every picture of a split, sent over HTTP, gets its packed scores."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from app.deps import State
from core.datasets.ingest_archive import pack_archive
from core.datasets.members import Limits
from core.datasets.packed import Packed
from models.preprocess import Preprocess
from tests.support import bundles
from tests.support.pictures import encoded, pixels, zip_of

KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("PNG", {}),
    ("JPEG", {"quality": 85}),
    ("JPEG", {"quality": 40, "subsampling": 2}),
    ("WEBP", {"quality": 70}),
)


def sent(number: int) -> bytes:
    """A picture of a size, kind and mode of its own; every fifth is grey."""
    kind, options = KINDS[number % len(KINDS)]
    array = pixels(number, height=9 + number % 7, width=16 - number % 5)
    picture = Image.fromarray(array)
    return encoded(picture.convert("L") if number % 5 == 0 else picture, kind, **options)


@pytest.fixture
def files() -> dict[str, bytes]:
    return {f"{name}/{number:02d}": sent(number) for number in range(24) for name in [bundles.CLASSES[number % 3]]}


@pytest.fixture
def packed(tmp_path: Path, files: dict[str, bytes]) -> Packed:
    named = {f"{name}.png": body for name, body in files.items()}  # what a picture is, its bytes decide
    archive = zip_of(tmp_path / "pictures.zip", named)
    out = tmp_path / "packed"
    out.mkdir()
    pack_archive(archive, out, Limits(), {"image_size": "12"})
    return Packed.open(out)


def test_a_picture_over_http_has_the_scores_of_the_packed_one(
    state: State, client: TestClient, files: dict[str, bytes], packed: Packed
) -> None:
    meta, train = packed.meta, packed.split("train")
    changes = {"image_shape": meta.image_shape, "mean": list(meta.mean), "std": list(meta.std), "resize": meta.resize}
    bundles.register(state["sessions"], state["storage"], "shapes", 1, **changes)
    words = bundles.description(**changes)
    with torch.inference_mode():
        images = Preprocess(words.mean, words.std)(torch.from_numpy(np.array(train.images)))
        scores = bundles.network(words)(images)
    of_name = {Path(name).with_suffix("").as_posix(): scores[place] for place, name in enumerate(train.names)}
    assert of_name.keys() == files.keys()
    for name, body in files.items():
        answer = client.post("/v1/models/shapes/predict?top_k=3", content=body, headers={"Content-Type": "image/*"})
        told = {one["index"]: one["probability"] for one in answer.json()["predictions"][0]["top_k"]}
        wanted = torch.softmax(of_name[name], 0).tolist()
        # Batches of one and of 24 may add up in another order; a pixel off by one would show at 1e-3.
        assert all(math.isclose(told[index], value, rel_tol=1e-5) for index, value in enumerate(wanted)), name
