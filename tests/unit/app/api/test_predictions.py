"""`POST /v1/models/{ref}/predict`: every form of body and every kind of error, with real networks."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image

from app.main import create_app
from app.state import STATE_KEY, State
from models.averaged_views import AveragedViews
from models.preprocess import Preprocess
from tests.support import bundles
from tests.support.hostile_formats import skipping_bmp
from tests.support.openapi_document import DOCUMENT

PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
GREY = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)


@pytest.fixture
def settings_options() -> dict[str, Any]:
    return {"max_image_bytes": 600_000}


@pytest.fixture(autouse=True)
def shapes(state: State) -> None:
    """Register the model `shapes`."""
    bundles.register_model(state.sessions, state.storage, "shapes", 1)


@pytest.fixture
def predict(client: TestClient) -> Callable[..., Response]:
    def send(content: bytes, headers: dict[str, str] = PNG, ref: str = "shapes", **params: Any) -> Response:
        return client.post(f"/v1/models/{ref}/predict", content=content, headers=headers, params=params)

    return send


def encode_image(pixels: np.ndarray, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    options: dict[str, Any] = {"lossless": True} if format == "WEBP" else {}
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def encode_base64(body: bytes) -> str:
    return base64.b64encode(body).decode()


def encode_json(*instances: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"instances": instances, **fields}).encode()


def compute_probabilities(pixels: np.ndarray = GREY, **changes: Any) -> list[float]:
    """Return the probabilities of the network, in the order of its classes."""
    bundle_description = bundles.build_description(**changes)
    images = Preprocess(bundle_description.mean, bundle_description.std)(torch.from_numpy(pixels[None, :, :, None]))
    with torch.inference_mode():
        scores: list[float] = bundles.build_network(bundle_description)(images).softmax(dim=1)[0].tolist()
    return scores


def problem(response: Response, status: int, slug: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == f"/problems/{slug}"
    return dict(response.json())


def test_a_prediction_equals_the_output_of_the_network(predict: Callable[..., Response]) -> None:
    response = predict(encode_image(GREY))
    assert response.status_code == 200, response.text
    assert response.json()["model"] == {"name": "shapes", "version": 1, "variant": None}
    (prediction,) = response.json()["predictions"]
    ranking = prediction["top_k"]
    assert prediction == {**ranking[0], "top_k": ranking}
    by_class = {one["index"]: one["probability"] for one in ranking}
    assert [by_class[n] for n in range(3)] == pytest.approx(compute_probabilities(), abs=1e-6)
    assert [one["label"] for one in ranking] == [bundles.CLASSES[one["index"]] for one in ranking]
    assert [one["probability"] for one in ranking] == sorted(by_class.values(), reverse=True)


@pytest.mark.parametrize(("views", "num_views"), [("mirror", 2), ("mirror_and_shift", 6)])
def test_the_scores_of_several_views_are_averaged(
    predict: Callable[..., Response], state: State, views: Literal["mirror", "mirror_and_shift"], num_views: int
) -> None:
    (prediction,) = predict(encode_image(GREY), test_time_augmentation=views, top_k=3).json()["predictions"]
    description = bundles.build_description()
    pixels = torch.from_numpy(GREY).reshape(1, 8, 8, 1)
    with torch.inference_mode():
        network = AveragedViews(bundles.build_network(description), views)
        expected = torch.softmax(network(description.build_preprocessing()(pixels))[0], 0).tolist()
    by_class = {one["index"]: one["probability"] for one in prediction["top_k"]}
    assert [by_class[n] for n in range(3)] == pytest.approx(expected, abs=1e-5)
    assert predict(encode_image(GREY), top_k=3).json()["predictions"] != [prediction]
    most = state.model_server.max_waiting // num_views
    many = encode_json(*[{"image": encode_base64(encode_image(GREY))}] * (most + 1))
    assert predict(many, JSON, test_time_augmentation=views).status_code == 413
    assert predict(many, JSON).status_code == 200


def test_an_unknown_view_is_rejected(predict: Callable[..., Response]) -> None:
    response = predict(encode_image(GREY), test_time_augmentation="flip")
    assert response.status_code == 422
    assert "mirror_and_shift" in response.text


def test_every_form_of_body_gives_the_same_prediction(client: TestClient, predict: Callable[..., Response]) -> None:
    png = encode_image(GREY)
    (lone,) = predict(png).json()["predictions"]
    forms = [
        predict(encode_image(GREY, "WEBP"), {"Content-Type": "image/webp"}),
        predict(png, {"Content-Type": "application/octet-stream"}),
        predict(encode_json({"image": encode_base64(png)}), JSON),
        predict(encode_json({"image": "data:image/png;base64," + encode_base64(png)}), JSON),
        predict(encode_json({"image": base64.encodebytes(png).decode()}), JSON),
        predict(encode_json({"image": base64.urlsafe_b64encode(png).decode().rstrip("=")}), JSON),
        predict(encode_json({"values": GREY.tolist()}), JSON),
        predict(encode_json({"values": GREY.ravel().tolist()}), JSON),
        client.post("/v1/models/shapes/predict", files=[("images", ("a.png", png, "image/png"))]),
    ]
    for response in forms:
        assert response.status_code == 200, response.text
        (prediction,) = response.json()["predictions"]
        assert prediction["probability"] == pytest.approx(lone["probability"], abs=1e-6)
        assert prediction["label"] == lone["label"]
    assert predict(encode_image(GREY, "JPEG"), {"Content-Type": "image/jpeg"}).status_code == 200


def test_predictions_are_in_the_order_of_the_images(client: TestClient) -> None:
    some = [np.full((8, 8), level, np.uint8) for level in (0, 60, 120, 180, 240)]
    files = [("images", (f"{n}.png", encode_image(one), "image/png")) for n, one in enumerate(some)]
    response = client.post("/v1/models/shapes/predict", files=files)
    for one, prediction in zip(some, response.json()["predictions"], strict=True):
        assert prediction["probability"] == pytest.approx(max(compute_probabilities(one)), abs=1e-6)


@pytest.mark.parametrize(("top_k", "length"), [(1, 1), (2, 2), (3, 3), (100, 3), (None, 3)])
def test_top_k_is_the_number_of_classes(predict: Callable[..., Response], top_k: int | None, length: int) -> None:
    params = {} if top_k is None else {"top_k": top_k}
    (prediction,) = predict(encode_image(GREY), **params).json()["predictions"]
    assert len(prediction["top_k"]) == length
    (reason,) = predict(encode_json({"values": GREY.tolist()}, **params), JSON).json()["predictions"]
    assert len(reason["top_k"]) == length


@pytest.mark.parametrize("top_k", ["0", "-1", "x", "1.5", "", "99999999999999999999", "true"])
def test_an_invalid_top_k_error_names_the_accepted_range(predict: Callable[..., Response], top_k: str) -> None:
    problem_body = problem(predict(encode_image(GREY), top_k=top_k), 422, "invalid-request")
    detail = f'must be an integer from 1 to 10000, not "{top_k}"'
    assert problem_body["errors"] == [{"pointer": "?top_k", "detail": detail}]


@pytest.mark.parametrize(
    ("top_k", "text"),
    [
        (0, "0"),
        (-1, "-1"),
        ("x", '"x"'),
        (1.5, "1.5"),
        (True, "true"),
        (2**70, str(2.0**70)),
        ([], "an array"),
        ("5", '"5"'),
    ],
)
def test_an_invalid_top_k_in_json_has_the_same_error(predict: Callable[..., Response], top_k: Any, text: str) -> None:
    problem_body = problem(predict(encode_json({"values": GREY.tolist()}, top_k=top_k), JSON), 422, "invalid-request")
    assert problem_body["errors"] == [
        {"pointer": "/top_k", "detail": f"must be an integer from 1 to 10000, not {text}"}
    ]


def test_an_invalid_image_among_several_has_an_error_in_its_place(client: TestClient) -> None:
    good = encode_image(GREY)
    bodies = [good, b"<html>", good, encode_image(GREY, "PDF"), huge_png(13_000), good[:50]]
    response = client.post(
        "/v1/models/shapes/predict", files=[("images", (f"{n}", one)) for n, one in enumerate(bodies)]
    )
    assert response.status_code == 200, response.text
    found = [one.get("error", {}).get("code") for one in response.json()["predictions"]]
    assert found == [None, "invalid-picture", None, "unsupported-picture", "image_too_large", "invalid-picture"]
    assert all(one["error"]["detail"] for one in response.json()["predictions"] if "error" in one)


def huge_png(side: int) -> bytes:
    """Return a PNG of `side` x `side` black pixels; 13 000 give about 170 kB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    squeeze = zlib.compressobj(9)
    row = b"\0" * (side + 1)
    pixels = b"".join(squeeze.compress(row) for _ in range(side)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (huge_png(13_000), 413, "too-large"),
        (encode_image(np.zeros((300, 300, 3), np.uint8), "JPEG")[:400], 422, "invalid-picture"),
        (b"<!doctype html><html><body>no picture</body></html>", 422, "invalid-picture"),
        (b"", 422, "invalid-picture"),
        (b"\x89PNG\r\n\x1a\n", 422, "invalid-picture"),
        (encode_image(GREY)[:90], 422, "invalid-picture"),
        (encode_image(GREY, "PDF"), 415, "unsupported-picture"),
        (skipping_bmp(), 415, "unsupported-picture"),
        (encode_image(GREY.astype(np.float32), "TIFF"), 415, "unsupported-picture"),
        (b"\xff\xd8\xff" + b"x" * 600_000, 413, "too-large"),
    ],
    ids=[
        "huge",
        "cut jpeg",
        "html",
        "empty",
        "only a signature",
        "cut png",
        "pdf",
        "compressed bmp",
        "float tiff",
        "too many bytes",
    ],
)
def test_a_single_invalid_image_is_rejected(
    predict: Callable[..., Response], client: TestClient, body: bytes, status: int, slug: str
) -> None:
    problem(predict(body), status, slug)
    problem(predict(encode_json({"image": encode_base64(body)}), JSON), status, slug)
    problem(client.post("/v1/models/shapes/predict", files=[("images", ("a.png", body))]), status, slug)
    assert predict(encode_image(GREY)).status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{}", ""),
        (b"[]", ""),
        (b"null", ""),
        (encode_json(), "/instances"),
        (encode_json({}), "/instances/0"),
        (encode_json({"image": "", "values": []}), "/instances/0"),
        (encode_json({"image": 1}), "/instances/0/image"),
        (encode_json({"values": "1"}), "/instances/0/values"),
        (encode_json({"picture": ""}), "/instances/0/picture"),
        (encode_json({"values": GREY.tolist()}, topk=1), "/topk"),
        (encode_json("x"), "/instances/0"),  # type: ignore[arg-type]  # wrong on purpose
    ],
)
def test_invalid_json_errors_have_pointers(predict: Callable[..., Response], body: bytes, pointer: str) -> None:
    problem_body = problem(predict(body, JSON), 422, "invalid-request")
    assert pointer in [error["pointer"] for error in problem_body["errors"]]


def test_an_unknown_field_error_names_the_most_similar_field(predict: Callable[..., Response]) -> None:
    problem_body = problem(predict(encode_json({"values": GREY.tolist()}, topk=1), JSON), 422, "invalid-request")
    assert "'top_k'" in problem_body["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"instances": [NaN]}', b'{"instances": [{"values": [1e999]}]}', b"[" * 5000]
)
def test_a_body_that_is_not_json_is_a_400(predict: Callable[..., Response], body: bytes) -> None:
    problem(predict(body, JSON), 400, "malformed-request")


@pytest.mark.parametrize(
    "instance",
    [{"image": "no base64!"}, {"image": "ünïcode"}, {"image": ""}, {"values": []}, {"values": [[1, 2], [3]]},
     {"values": [1] * 63}, {"values": [256] * 64}, {"values": ["1"] * 64}, {"values": [None] * 64}],
)  # fmt: skip
def test_an_instance_that_is_not_an_image_has_an_error(
    predict: Callable[..., Response], instance: dict[str, Any]
) -> None:
    problem(predict(encode_json(instance), JSON), 422, "invalid-picture")
    response = predict(encode_json({"values": GREY.tolist()}, instance), JSON)
    good, bad = response.json()["predictions"]
    assert good["label"] in bundles.CLASSES
    assert bad["error"]["code"] == "invalid-picture"


def test_large_json_is_parsed_in_a_thread(predict: Callable[..., Response]) -> None:
    response = predict(encode_json(*[{"values": GREY.tolist()}] * 60, {"image": "x" * 400_000}), JSON)
    assert len(response.json()["predictions"]) == 61


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/html", b"<html>", 415),
        ("application/x-www-form-urlencoded", b"a=b", 415),
        ("application/xml", b"<a/>", 415),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=x", b"rubbish", 400),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 422),
    ],
)
def test_other_media_types_are_rejected(
    predict: Callable[..., Response], content_type: str, body: bytes, status: int
) -> None:
    response = predict(body, {"Content-Type": content_type})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_a_form_accepts_only_files_named_images(client: TestClient) -> None:
    url, png = "/v1/models/shapes/predict", encode_image(GREY)
    other = client.post(url, files=[("image", ("a.png", png))])
    assert "'images'" in problem(other, 422, "invalid-request")["detail"]
    problem(client.post(url, files=[("images", ("a.png", png))], data={"top_k": "1"}), 422, "invalid-request")
    problem(client.post(url, files=[("images", (None, "text"))]), 422, "invalid-request")


@pytest.mark.parametrize("ref", ["nope", "shapes@2", "shapes@champion", "nope@1"])
def test_an_unknown_model_is_not_found(predict: Callable[..., Response], ref: str) -> None:
    problem(predict(encode_image(GREY), ref=ref), 404, "not-found")


@pytest.mark.parametrize("ref", ["UPPER", "a@b@c", "@1", "a@", "%00", "..", "a" * 64])
def test_an_invalid_model_reference_is_rejected(predict: Callable[..., Response], ref: str) -> None:
    assert predict(encode_image(GREY), ref=ref).status_code in (404, 405, 422)


async def test_a_disconnect_during_the_body_is_a_400(state: State) -> None:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"\x89PNG", "more_body": True},
        {"type": "http.disconnect"},
    ]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        statuses.append(message.get("status", 0))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/models/shapes/predict",
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"content-type", b"image/png"), (b"content-length", b"100")],
        "state": {STATE_KEY: state},
    }
    await create_app(state=state)(scope, receive, send)
    assert statuses[0] == 400


def test_an_unknown_parameter_error_names_the_most_similar(predict: Callable[..., Response]) -> None:
    assert "'top_k'" in problem(predict(encode_image(GREY), topk=3), 422, "invalid-request")["detail"]


def test_versions_and_aliases_resolve_to_their_version(state: State, predict: Callable[..., Response]) -> None:
    bundles.register_model(state.sessions, state.storage, "shapes", 2, seed=1)
    bundles.set_alias(state.sessions, "shapes", "champion", 1)
    versions = [
        predict(encode_image(GREY), ref=ref).json()["model"]["version"] for ref in ("shapes", "shapes@1", "shapes@2")
    ]
    assert versions == [2, 1, 2]
    assert predict(encode_image(GREY), ref="shapes@champion").json()["model"]["version"] == 1


def test_a_regression_returns_values(state: State, predict: Callable[..., Response]) -> None:
    bundles.register_model(state.sessions, state.storage, "size", 1, task="regression", classes=[])
    (prediction,) = predict(encode_image(GREY), ref="size").json()["predictions"]
    assert prediction.keys() == {"values"}
    assert len(prediction["values"]) == 3


def test_a_network_with_one_output_returns_both_classes(state: State, predict: Callable[..., Response]) -> None:
    bundle_description = {"task": "binary", "classes": ["no", "yes"], "num_outputs": 1}
    bundles.register_model(state.sessions, state.storage, "yes", 1, **bundle_description)
    (prediction,) = predict(encode_image(GREY), ref="yes").json()["predictions"]
    assert {one["label"] for one in prediction["top_k"]} == {"no", "yes"}
    assert sum(one["probability"] for one in prediction["top_k"]) == pytest.approx(1)


def test_non_finite_scores_are_an_error(state: State, predict: Callable[..., Response]) -> None:
    bundles.register_model(state.sessions, state.storage, "mad", 1, mean=[-3e38], std=[1e-5])
    problem(predict(encode_image(GREY), ref="mad"), 502, "prediction-failed")
    response = predict(encode_json({"values": GREY.tolist()}, {"values": GREY.tolist()}), JSON, ref="mad")
    assert [one["error"]["code"] for one in response.json()["predictions"]] == ["prediction-failed"] * 2


def test_a_damaged_bundle_does_not_affect_other_models(state: State, predict: Callable[..., Response]) -> None:
    bundles.register_model(state.sessions, state.storage, "broken", 1)
    state.storage.fetch_file("jobs/broken-1/bundle/weights.safetensors").write_bytes(b"rubbish")
    problem(predict(encode_image(GREY), ref="broken"), 500, "corrupt")
    assert predict(encode_image(GREY)).status_code == 200


def test_more_images_than_the_queue_holds_are_rejected(state: State, predict: Callable[..., Response]) -> None:
    most = state.settings.max_waiting_predictions
    response = predict(encode_json(*[{"values": [0]}] * (most + 1)), JSON)
    assert problem(response, 413, "too-large")["facts"]["max_images"] <= most


def test_openapi_describes_every_form_of_body() -> None:
    operation = DOCUMENT["paths"]["/v1/models/{ref}/predict"]["post"]
    content = operation["requestBody"]["content"]
    kinds = {f"image/{kind}" for kind in ("png", "jpeg", "webp", "gif", "bmp", "tiff")}
    assert content.keys() == kinds | {"multipart/form-data", "application/json"}
    assert content["image/png"]["schema"] == {"type": "string", "format": "binary"}
    form = DOCUMENT["components"]["schemas"][content["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]]
    assert form["properties"]["images"]["items"]["format"] == "binary"
    assert content["application/json"]["schema"]["$ref"].rpartition("/")[2] in DOCUMENT["components"]["schemas"]
    assert operation["responses"].keys() >= {"200", "400", "404", "413", "415", "422", "502", "503"}


def test_the_examples_of_openapi_are_accepted(predict: Callable[..., Response]) -> None:
    content = DOCUMENT["paths"]["/v1/models/{ref}/predict"]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"]
    assert predict(json.dumps(examples["file"]["value"]).encode(), JSON).status_code == 200
    problem(
        predict(json.dumps(examples["numbers"]["value"]).encode(), JSON), 422, "invalid-picture"
    )  # 8 x 8 are wanted
