"""No train-serve skew: an image over HTTP has the scores of the packed image."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from app.state import State
from core.datasets.archives.limits import UploadLimits
from core.datasets.ingest.archive import pack_archive
from core.datasets.packed import PackedDataset
from core.spec import ANY_JOB, EvaluateSpec
from models import bundle
from models.preprocess import Preprocess
from tests.support import bundles
from tests.support.images import encode_image, random_pixels, write_zip
from tests.support.trainer import build_start
from tests.support.training import RecordingChannel, build_spec, cpu_placement
from worker.builders.evaluation import build_evaluation
from worker.protocol import TrainingFinished
from worker.trainer import main

KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("PNG", {}),
    ("JPEG", {"quality": 85}),
    ("JPEG", {"quality": 40, "subsampling": 2}),
    ("WEBP", {"quality": 70}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
)
POLICIES: tuple[dict[str, Any], ...] = (
    {},
    {"resize": "crop"},
    {"resize": "pad", "pad_color": "#ff8000", "interpolation": "bicubic"},
    {"resize": "crop", "resize_shorter_side": 15},
    {"resize": "crop", "resize_shorter_side": 14, "interpolation": "bicubic"},
)
"""The import options of the datasets, besides the size."""


def send_image(number: int) -> bytes:
    """Return an image file whose size, format and mode depend on its number; every fifth is grayscale."""
    kind, options = KINDS[number % len(KINDS)]
    array = random_pixels(number, height=9 + number % 7, width=16 - number % 5)
    image = Image.fromarray(array)
    if number % 8 == 1:  # large enough to be decoded at a reduced size
        image = image.resize((80, 61 + number))
    return encode_image(image.convert("L") if number % 5 == 0 else image, kind, **options)


@pytest.fixture
def files() -> dict[str, bytes]:
    return {
        f"{name}/{number:02d}": send_image(number) for number in range(24) for name in [bundles.CLASSES[number % 3]]
    }


@pytest.fixture
def packed_dataset(tmp_path: Path, files: dict[str, bytes], request: pytest.FixtureRequest) -> PackedDataset:
    named = {f"{name}.png": body for name, body in files.items()}  # the format is detected from the bytes
    archive = write_zip(tmp_path / "pictures.zip", named)
    out = tmp_path / "packed"
    out.mkdir()
    pack_archive(archive, out, UploadLimits(), {"image_size": "12"} | getattr(request, "param", {}))
    return PackedDataset.open(out)


@pytest.mark.parametrize("packed_dataset", POLICIES, indirect=True)
def test_an_image_over_http_has_the_scores_of_the_packed_image(
    state: State, client: TestClient, files: dict[str, bytes], packed_dataset: PackedDataset
) -> None:
    meta, train = packed_dataset.meta, packed_dataset.read_split("train")
    moments = {"mean": list(meta.mean), "std": list(meta.std)}
    changes = {"image_shape": meta.image_shape, **moments, **meta.resize_policy.to_dict()}
    bundles.register_model(state.sessions, state.storage, "shapes", 1, **changes)
    bundle_description = bundles.build_description(**changes)
    with torch.inference_mode():
        images = Preprocess(bundle_description.mean, bundle_description.std)(torch.from_numpy(np.array(train.images)))
        scores = bundles.build_network(bundle_description)(images)
    of_name = {Path(name).with_suffix("").as_posix(): scores[place] for place, name in enumerate(train.names)}
    assert of_name.keys() == files.keys()
    for name, body in files.items():
        response = client.post("/v1/models/shapes/predict?top_k=3", content=body, headers={"Content-Type": "image/*"})
        prediction = {one["index"]: one["probability"] for one in response.json()["predictions"][0]["top_k"]}
        expected_scores = torch.softmax(of_name[name], 0).tolist()
        # Batches of one and of 24 may add up in another order; a pixel off by one would show at 1e-3.
        assert all(
            math.isclose(prediction[index], value, rel_tol=1e-5) for index, value in enumerate(expected_scores)
        ), name


@pytest.fixture
def trained_job(packed_dataset: PackedDataset, tmp_path: Path) -> TrainingFinished:
    """The final message of a job that was trained on these images."""
    spec = build_spec(dataset={"name": "synthetic", "valid": 0.5}, epochs=3, batch_size=4)
    channel = RecordingChannel()
    assert main.run_job(build_start(spec, tmp_path / "packed", tmp_path / "work"), channel) == 0, channel.messages[-1]
    finished: TrainingFinished = channel.select_messages(TrainingFinished)[0]
    return finished


def test_validation_images_over_http_have_the_scores_of_the_evaluation(
    state: State,
    client: TestClient,
    files: dict[str, bytes],
    packed_dataset: PackedDataset,
    trained_job: TrainingFinished,
) -> None:
    folder = Path(trained_job.dir)
    _, bundle_description = bundle.load_bundle(folder)
    stored = {name: (file.sha256, file.size_bytes) for name, file in trained_job.files.items()}
    ref = bundles.publish_bundle(state.storage, "jobs/trained/bundle", folder, stored)
    bundles.insert_version(state.sessions, "trained", 1, ref, bundle_description)
    body = {"kind": "evaluate", "model": "trained@1", "dataset": {"name": "synthetic", "valid": 0.5}, "split": "valid"}
    spec = ANY_JOB.validate_python(body | {"seed": 7, "batch_size": 4})
    assert isinstance(spec, EvaluateSpec)
    evaluation = build_evaluation(
        spec, (), packed_dataset, state.storage.fetch(ref.key, dict(ref.files)), cpu_placement()
    )
    scores, targets = [], []
    for batch in evaluation.batches.iter_epoch(0):
        scores.append(evaluation.predict(batch.images))
        targets.append(batch.targets)
    raw, truth = torch.cat(scores), torch.cat(targets)
    assert float((raw.argmax(1) == truth).double().mean()) == pytest.approx(trained_job.evaluation["valid"]["accuracy"])
    assert len(evaluation.names) == len(files) // 2
    headers = {"Inference-Header-Content-Length": "0"}
    for name, expected in zip(evaluation.names, raw, strict=True):
        sent_as = Path(name).with_suffix("").as_posix()
        response = client.post("/v2/models/trained/infer", content=files[sent_as], headers=headers)
        assert response.status_code == 200, response.text
        probabilities = np.frombuffer(response.content[-12:], np.float32)
        np.testing.assert_allclose(probabilities, expected.softmax(0).numpy(), rtol=1e-5, atol=1e-5)
