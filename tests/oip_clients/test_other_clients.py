"""KServe's and MLServer's own packages, each in its environment, against a real socket: `make oip-clients`."""

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
from tests.oip_clients.environments import python_of
from tests.support import bundles
from tests.support.http_service import service_state
from tests.support.oip import CLASSES, SIZES, Registered, register, serving

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


class House(NamedTuple):
    """A running service that wants a key, and what version 2 of its model `cats`, the default, should say."""

    url: str
    cats: Registered
    champion: Registered


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[House]:
    home = tmp_path_factory.mktemp("home")
    with service_state(home, sqlite_template, api_keys=(SecretStr("secret"),)) as state:
        sessions, storage = state.sessions, state.storage
        champion, cats = (register(sessions, storage, "cats", version) for version in (1, 2))
        bundles.set_alias(sessions, "cats", "champion", 1)
        bundles.register(sessions, storage, "penguins", 1, **PENGUINS)
        bundles.register(sessions, storage, "weight", 1, **WEIGHT)
        with serving(create_app(state=state)) as url:
            yield House(f"http://{url}", cats, champion)


def answers_of(client: str, house: House, folder: Path) -> dict[str, Any]:
    """What the client made of the service's answers to all it can ask."""
    files = np.empty(len(IMAGES), object)
    files[:] = [png(picture) for picture in IMAGES]
    np.save(folder / "pictures.npy", IMAGES)
    np.save(folder / "files.npy", files, allow_pickle=True)
    (folder / "rows.json").write_text(json.dumps(ROWS))
    script = Path(__file__).with_name(f"call_{client}.py")
    subprocess.run([str(python_of(client)), str(script), house.url, str(folder)], check=True, timeout=300)
    found: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    return found


def png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, atol=1e-5)


# -- KServe ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kserve(house: House, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answers_of("kserve", house, tmp_path_factory.mktemp("kserve"))


def test_kserve_reads_health(kserve: dict[str, Any]) -> None:
    assert kserve["health"] == {"live": True, "ready": True, "models": [True, True, False]}


def test_kserve_sends_every_form_and_reads_every_form(kserve: dict[str, Any], house: House) -> None:
    names = [
        f"{dtype} {form} {back}"
        for dtype in ("uint8", "int64", "float16", "float32", "float64")
        for form in ("binary", "json")
        for back in ("binary", "json")
        if (dtype, form) != ("float16", "json")
    ]
    for name in [*names, "files binary", "files json"]:
        assert "error" not in kserve[name], (name, kserve[name])
        close(kserve[name]["outputs"]["probabilities"], house.cats.probabilities(IMAGES))
        close(kserve[name]["outputs"]["logits"], house.cats.scores(IMAGES))


def test_kserve_sends_a_request_of_its_own_words(kserve: dict[str, Any], house: House) -> None:
    close(kserve["words"]["outputs"]["probabilities"], house.cats.probabilities(IMAGES[:1]))


@pytest.mark.parametrize("form", ["binary", "json"])
def test_kserve_sends_a_batch_of_none(kserve: dict[str, Any], form: str) -> None:
    assert kserve[f"nothing {form}"]["outputs"] == {"probabilities": [], "logits": []}


def test_kserve_asks_a_version_for_classes(kserve: dict[str, Any], house: House) -> None:
    found = kserve["classes"]
    assert found["id"] == "42"
    labels = [row[0].split(":", 2)[2] for row in found["outputs"]["probabilities"]]
    assert labels == [CLASSES[index] for index in house.champion.scores(IMAGES).argmax(axis=1)]
    close(found["outputs"]["logits"], house.champion.scores(IMAGES))


def test_kserve_tells_refusals_in_our_words(kserve: dict[str, Any]) -> None:
    found = kserve["refusals"]
    assert "input 'image' is UINT8 of shape" in found["shape"]
    assert "There is no model 'dogs'" in found["model"]
    assert found["key"].startswith("Send one of the service's keys")


# -- MLServer --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mlserver(house: House, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answers_of("mlserver", house, tmp_path_factory.mktemp("mlserver"))


@pytest.mark.parametrize(
    "name",
    ["uint8", "int64", "float32", "float64", "numpy_request", "every_field", "base64", "base64 as bytes"],
)
def test_mlservers_codecs_encode_images_and_decode_scores(mlserver: dict[str, Any], house: House, name: str) -> None:
    assert "error" not in mlserver[name], mlserver[name]
    close(mlserver[name]["outputs"]["probabilities"], house.cats.probabilities(IMAGES))
    close(mlserver[name]["outputs"]["logits"], house.cats.scores(IMAGES))


def test_mlservers_codecs_know_truth_values_parameters_and_strings(mlserver: dict[str, Any], house: House) -> None:
    black_and_white = np.where(IMAGES > 127, 255, 0).astype(np.uint8)
    close(mlserver["bool"]["outputs"]["logits"], house.cats.scores(black_and_white))
    assert (mlserver["parameters"]["id"], set(mlserver["parameters"]["outputs"])) == ("42", {"probabilities"})
    first, second = house.cats.scores(IMAGES).argmax(axis=1)
    assert [one.split(":", 2)[2] for one in mlserver["strings"][::2]] == [CLASSES[first], CLASSES[second]]


def scores(words: dict[str, Any]) -> Callable[[], Any]:
    described = bundles.description(**words)
    return lambda: bundles.network(described)(described.preprocess()(torch.tensor(PACKED).float())).numpy()


@torch.inference_mode()
def test_mlservers_codecs_encode_data_frames_and_what_is_missing(mlserver: dict[str, Any]) -> None:
    for name in ("table", "rows"):
        assert "error" not in mlserver[name], (name, mlserver[name])
        close(mlserver[name]["outputs"]["logits"], scores(PENGUINS)())
    close(mlserver["frame"]["values"], scores(WEIGHT)()[:, 0])


def test_mlservers_types_read_what_describes_the_server(mlserver: dict[str, Any]) -> None:
    assert mlserver["described"] == ["candela", ["image"], ["cats", "penguins", "weight"]]


@pytest.mark.parametrize("name", ["batch client", "batch client, merged", "batch client, binary"])
def test_mlservers_batch_client_gets_every_image_answered(mlserver: dict[str, Any], house: House, name: str) -> None:
    lines = mlserver[name]
    assert [line["id"] for line in lines] == ["0", "1"]
    for line, expected in zip(lines, house.cats.probabilities(IMAGES), strict=True):
        [found] = [one["data"] for one in line["outputs"] if one["name"] == "probabilities"]
        close(found, expected)
