"""The clients of KServe and MLServer, each in its environment, against a real socket: `make clients`."""

import io
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import SecretStr

from app.main import create_app
from tests.support import bundles
from tests.support.client_environments import ensure_environment
from tests.support.http_service import service_state
from tests.support.oip import CLASSES, SIZES, RegisteredModel, register, serve_app

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

CHANNELS, HEIGHT, WIDTH = SIZES
IMAGES = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, CHANNELS), np.uint8)
ROWS = [{"length": 39.1, "mass": 3750, "island": "Dream"}, {"length": 40.0, "mass": None, "island": "Biscoe"}]
PACKED = [[39.1, 3750, 2], [40.0, float("nan"), 1]]
COLUMNS: list[dict[str, Any]] = [
    {"name": "length", "categories": None},
    {"name": "mass", "categories": None},
    {"name": "island", "categories": ["Biscoe", "Dream"]},
]
PENGUINS: dict[str, Any] = {
    "architecture": {"name": "tabular", "options": {"hidden": [8]}},
    "image_shape": (3,),
    "mean": [40.0, 4000.0, 0.0],
    "std": [5.0, 800.0, 1.0],
    "table": {"columns": COLUMNS, "targets": ["species"], "missing": "impute"},
}
WEIGHT = PENGUINS | {"task": "regression", "num_outputs": 1, "classes": ["weight"]}


class RunningService(NamedTuple):
    """A running service with an API key; `cats` is version 2 of the model `cats`, `champion` is version 1."""

    url: str
    cats: RegisteredModel
    champion: RegisteredModel


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[RunningService]:
    home = tmp_path_factory.mktemp("home")
    with service_state(home, sqlite_template, api_keys=(SecretStr("secret"),)) as state:
        sessions, storage = state.sessions, state.storage
        champion, cats = (register(sessions, storage, "cats", version) for version in (1, 2))
        bundles.set_alias(sessions, "cats", "champion", 1)
        bundles.register_model(sessions, storage, "penguins", 1, **PENGUINS)
        bundles.register_model(sessions, storage, "weight", 1, **WEIGHT)
        with serve_app(create_app(state=state)) as url:
            yield RunningService(f"http://{url}", cats, champion)


def run_client(client: str, service: RunningService, folder: Path) -> dict[str, Any]:
    """Run the script of a client and return its results."""
    files = np.empty(len(IMAGES), object)
    files[:] = [png(image) for image in IMAGES]
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "files.npy", files, allow_pickle=True)
    (folder / "rows.json").write_text(json.dumps(ROWS))
    script = Path(__file__).with_name(f"call_{client}.py")
    subprocess.run([str(ensure_environment(client)), str(script), service.url, str(folder)], check=True, timeout=300)
    result: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return result


def png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def assert_close(result: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(result, np.float64), expected, atol=1e-5)


# -- KServe ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kserve(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_client("kserve", service, tmp_path_factory.mktemp("kserve"))


def test_kserve_health(kserve: dict[str, Any]) -> None:
    assert kserve["health"] == {"live": True, "ready": True, "models": [True, True, False]}


def test_kserve_formats(kserve: dict[str, Any], service: RunningService) -> None:
    names = [
        f"{dtype} {form} {back}"
        for dtype in ("uint8", "int64", "float16", "float32", "float64")
        for form in ("binary", "json")
        for back in ("binary", "json")
        if (dtype, form) != ("float16", "json")
    ]
    for name in [*names, "files binary", "files json"]:
        assert "error" not in kserve[name], (name, kserve[name])
        assert set(kserve[name]["outputs"]) == {"probabilities"}
        assert_close(kserve[name]["outputs"]["probabilities"], service.cats.probabilities(IMAGES))


def test_kserve_dict_request(kserve: dict[str, Any], service: RunningService) -> None:
    assert_close(kserve["dict"]["outputs"]["probabilities"], service.cats.probabilities(IMAGES[:1]))


@pytest.mark.parametrize("form", ["binary", "json"])
def test_kserve_empty_batch(kserve: dict[str, Any], form: str) -> None:
    assert kserve[f"nothing {form}"]["outputs"] == {"probabilities": []}


def test_kserve_classification_with_a_version(kserve: dict[str, Any], service: RunningService) -> None:
    result = kserve["classes"]
    assert result["id"] == "42"
    labels = [row[0].split(":", 2)[2] for row in result["outputs"]["probabilities"]]
    assert labels == [CLASSES[index] for index in service.champion.scores(IMAGES).argmax(axis=1)]
    assert_close(result["outputs"]["logits"], service.champion.scores(IMAGES))


def test_kserve_error_messages(kserve: dict[str, Any]) -> None:
    result = kserve["errors"]
    assert "input 'image' is UINT8 of shape" in result["shape"]
    assert "Model 'dogs' does not exist" in result["model"]
    assert result["key"].startswith("The API key is missing or wrong")


# -- MLServer --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mlserver(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_client("mlserver", service, tmp_path_factory.mktemp("mlserver"))


@pytest.mark.parametrize(
    "name",
    ["uint8", "int64", "float32", "float64", "numpy_request", "every_field", "base64", "base64 as bytes"],
)
def test_mlserver_image_codecs(mlserver: dict[str, Any], service: RunningService, name: str) -> None:
    assert "error" not in mlserver[name], mlserver[name]
    assert_close(mlserver[name]["outputs"]["probabilities"], service.cats.probabilities(IMAGES))


def test_mlserver_booleans_parameters_and_strings(mlserver: dict[str, Any], service: RunningService) -> None:
    black_and_white = np.where(IMAGES > 127, 255, 0).astype(np.uint8)
    assert_close(mlserver["bool"]["outputs"]["probabilities"], service.cats.probabilities(black_and_white))
    assert (mlserver["parameters"]["id"], set(mlserver["parameters"]["outputs"])) == ("42", {"probabilities"})
    first, second = service.cats.scores(IMAGES).argmax(axis=1)
    assert [one.split(":", 2)[2] for one in mlserver["strings"][::2]] == [CLASSES[first], CLASSES[second]]


def scores(options: dict[str, Any]) -> Callable[[], Any]:
    described = bundles.build_description(**options)
    samples = torch.tensor(PACKED).float()
    return lambda: bundles.build_network(described)(described.build_preprocessing()(samples)).numpy()


def softmax(values: NDArray[np.float32]) -> Any:
    return torch.from_numpy(values).softmax(1).numpy()


@torch.inference_mode()
def test_mlserver_data_frames_and_missing_values(mlserver: dict[str, Any]) -> None:
    for name in ("table", "rows"):
        assert "error" not in mlserver[name], (name, mlserver[name])
        assert_close(mlserver[name]["outputs"]["probabilities"], softmax(scores(PENGUINS)()))
    assert_close(mlserver["frame"]["values"], scores(WEIGHT)()[:, 0])


def test_mlserver_metadata_types(mlserver: dict[str, Any]) -> None:
    assert mlserver["metadata"] == ["candela", ["image"], ["cats", "penguins", "weight"]]


@pytest.mark.parametrize("name", ["batch client", "batch client, merged", "batch client, binary"])
def test_mlserver_batch_client(mlserver: dict[str, Any], service: RunningService, name: str) -> None:
    lines = mlserver[name]
    assert [line["id"] for line in lines] == ["0", "1"]
    for line, expected in zip(lines, service.cats.probabilities(IMAGES), strict=True):
        [result] = [one["data"] for one in line["outputs"] if one["name"] == "probabilities"]
        assert_close(result, expected)
