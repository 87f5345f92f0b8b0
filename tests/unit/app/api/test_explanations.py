"""`/v1/models/{ref}/embed` and `/explain`: embeddings and heatmaps of real networks over HTTP."""

import asyncio
import base64
import io
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from app.api.heatmap import render_heatmap
from app.main import build_body_limits
from app.state import State
from models.explanations import compute_embeddings, grad_cam
from tests.support import bundles
from tests.support.openapi_document import DOCUMENT

PIXELS = np.random.default_rng(3).integers(0, 256, (8, 8), dtype=np.uint8)


def encode_png(pixels: np.ndarray = PIXELS) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def shapes(state: State) -> str:
    bundles.register_model(state.sessions, state.storage, "shapes", 1)
    return "/v1/models/shapes"


def preprocess_image() -> torch.Tensor:
    images: torch.Tensor = bundles.build_description().build_preprocessing()(torch.from_numpy(PIXELS)[None, ..., None])
    return images


def send(client: TestClient, url: str, **more: Any) -> Any:
    headers = {"Content-Type": "image/png"} | more.pop("headers", {})
    return client.post(url, content=more.pop("content", encode_png()), headers=headers, **more)


def pointers(response: Any) -> list[str]:
    assert response.status_code == 422, response.text
    return [error["pointer"] for error in response.json().get("errors", [])]


def test_an_embedding_is_the_input_of_the_last_layer(client: TestClient, shapes: str) -> None:
    response = send(client, f"{shapes}/embed")
    assert response.status_code == 200, response.text
    assert response.json()["model"] == {"name": "shapes", "version": 1}
    (embedding,) = response.json()["embeddings"]
    expected = compute_embeddings(bundles.build_network(bundles.build_description()), preprocess_image())[0]
    np.testing.assert_allclose(embedding["vector"], expected, atol=1e-5)


def test_an_invalid_image_among_several_has_an_error_in_its_place(client: TestClient, shapes: str) -> None:
    images = [("images", ("a.png", encode_png())), ("images", ("b.png", b"no")), ("images", ("c.png", encode_png()))]
    first, second, third = client.post(f"{shapes}/embed", files=images).json()["embeddings"]
    assert second["error"]["code"] == "invalid-picture"
    assert len(first["vector"]) == 16
    np.testing.assert_allclose(first["vector"], third["vector"], atol=1e-6)
    assert send(client, f"{shapes}/embed", content=b"no").status_code == 422


@pytest.mark.parametrize("label", [None, *bundles.CLASSES])
def test_the_heatmap_is_that_of_the_requested_class(client: TestClient, shapes: str, label: str | None) -> None:
    params = {} if label is None else {"label": label}
    response = send(client, f"{shapes}/explain", params=params, headers={"Accept": "application/json"})
    body = response.json()
    network = bundles.build_network(bundles.build_description())
    probability = torch.softmax(network(preprocess_image()), 1)[0].detach()
    chosen = int(probability.argmax()) if label is None else bundles.CLASSES.index(label)
    assert (body["label"], body["index"]) == (bundles.CLASSES[chosen], chosen)
    assert body["probability"] == pytest.approx(float(probability[chosen]), abs=1e-5)
    expected = grad_cam(network, preprocess_image(), torch.tensor([chosen])).heat[0]
    np.testing.assert_allclose(body["heat"], expected, atol=1e-4)


def test_the_heatmap_is_returned_as_a_png(client: TestClient, shapes: str) -> None:
    response = send(client, f"{shapes}/explain", params={"label": "cross"})
    assert (response.headers["content-type"], response.headers["candela-label"]) == ("image/png", "cross")
    assert 0 < float(response.headers["candela-probability"]) < 1
    assert Image.open(io.BytesIO(response.content)).size == (224, 224)


@pytest.mark.parametrize("label", ["Kätzchen, müde", "犬", '100% \\ "quoted"', "a\tb"])
def test_a_label_in_a_header_is_percent_encoded(client: TestClient, state: State, label: str) -> None:
    bundles.register_model(state.sessions, state.storage, "named", 1, classes=[label, "b", "c"])
    response = send(client, "/v1/models/named/explain", params={"label": label})
    assert response.status_code == 200, response.text
    assert unquote(response.headers["candela-label"]) == label
    assert response.headers["candela-label"].isascii()


def test_the_image_is_unchanged_where_the_heatmap_is_zero() -> None:
    heat = np.zeros((8, 8), np.float32)
    heat[:2, :2] = 1.0
    heatmap_pixels = np.asarray(Image.open(io.BytesIO(render_heatmap(PIXELS[..., None], heat))))
    np.testing.assert_array_equal(heatmap_pixels[14 + 4 * 28 :: 28, 14::28], np.repeat(PIXELS[4:, :, None], 3, axis=2))
    assert (heatmap_pixels[14, 14] != PIXELS[0, 0]).any()


def test_an_explanation_that_is_impossible_is_rejected(client: TestClient, shapes: str, state: State) -> None:
    assert pointers(send(client, f"{shapes}/explain", params={"label": "cros"})) == ["?label"]
    assert send(client, "/v1/models/nothing/explain").status_code == 404
    assert send(client, "/v1/models/nothing/embed").status_code == 404
    two = {"instances": [{"image": base64.b64encode(encode_png()).decode()}] * 2}
    assert client.post(f"{shapes}/explain", json=two).status_code == 422
    flat = {"architecture": {"name": "mlp", "options": {"hidden": [4]}}}
    bundles.register_model(state.sessions, state.storage, "flat", 1, **flat)
    response = send(client, "/v1/models/flat/explain")
    assert (response.status_code, "feature maps" in response.json()["detail"]) == (422, True)
    assert send(client, "/v1/models/flat/embed").status_code == 200


@pytest.mark.parametrize("ref", ["shapes", "shapes@1", "shapes@champion"])
def test_a_colon_is_an_alias_for_a_slash(client: TestClient, shapes: str, state: State, ref: str) -> None:
    bundles.set_alias(state.sessions, "shapes", "champion", 1)
    for verb in ("embed", "explain"):
        with_slash, with_colon = (send(client, f"/v1/models/{ref}{sign}{verb}") for sign in "/:")
        assert with_colon.status_code == 200, with_colon.text
        assert with_colon.headers["content-type"] == with_slash.headers["content-type"]
        assert with_colon.content == with_slash.content
    assert send(client, f"/v1/models/{ref}:explain", params={"lable": "cross"}).status_code == 422
    assert send(client, "/v1/models/nothing:embed").status_code == 404
    assert not [path for path in DOCUMENT["paths"] if ":" in path]


@pytest.mark.parametrize("verb", ["/embed", ":embed", "/explain", ":explain"])
def test_explanations_have_the_body_limit_of_predictions(state: State, verb: str) -> None:
    settings = state.settings
    assert settings.max_predict_bytes > settings.max_json_bytes
    assert build_body_limits(settings)(f"/v1/models/shapes{verb}") == settings.max_predict_bytes
    assert build_body_limits(settings)(f"/v1/models/shapes{verb}s") == settings.max_json_bytes


def test_one_output_for_two_classes_explains_the_second(client: TestClient, state: State) -> None:
    binary = {"num_outputs": 1, "task": "binary", "classes": ["no", "yes"]}
    bundles.register_model(state.sessions, state.storage, "it", 1, **binary)
    body = send(client, "/v1/models/it/explain", headers={"Accept": "application/json"}).json()
    assert (body["label"], body["index"]) == ("yes", 1)
    assert pointers(send(client, "/v1/models/it/explain", params={"label": "no"})) == ["?label"]


class Stuck:
    """A decoder that takes longer than the timeout."""

    async def decode(self, *_: Any) -> Any:
        await asyncio.sleep(60)


@pytest.mark.parametrize("what", ["embed", "explain"])
def test_a_timeout_is_a_504_at_every_stage(
    client: TestClient, state: State, shapes: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state.explanations, "_decoder", Stuck())
    response = send(client, f"{shapes}/{what}", headers={"X-Request-Timeout": "0.05"})
    assert response.status_code == 504
    assert response.json()["type"] == "/problems/deadline-exceeded"
