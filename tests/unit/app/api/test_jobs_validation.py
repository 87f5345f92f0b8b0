"""Invalid jobs: each gets a problem with status and pointer, and nothing is stored."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.queue_tables import OutboxRow
from core.db.session import transaction
from core.db.tables import DatasetVersionRow, JobRow
from tests.support.http_service import SMALL

JSON = {"Content-Type": "application/json"}
PARTS = [{"match": "0.*", "optimizer": {"name": "sgd"}}, {"match": "*", "optimizer": {"name": "adam"}}]
LAYERS = [{"type": "flatten"}, {"type": "linear", "out": 10}]


def add_part(optimizer: dict[str, Any], match: str = "*") -> dict[str, Any]:
    """Return a composite optimizer with this third part."""
    return {"optimizer": {"name": "several", "parts": [*PARTS, {"match": match, "optimizer": optimizer}]}}


@pytest.fixture(autouse=True)
def check_storage(state: State) -> Iterator[None]:
    """Check after each test that nothing was stored."""
    yield
    with transaction(state.sessions, read_only=True) as session:
        assert [session.query(table).count() for table in (JobRow, OutboxRow, DatasetVersionRow)] == [0, 0, 0]


def submit_invalid(client: TestClient, body: Any) -> dict[str, str]:
    """Submit an invalid job and return its errors by pointer. A `body` of bytes is sent unchanged."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post("/v1/jobs", content=content, headers=JSON)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == 422
    assert problem["instance"] == "/v1/jobs"
    return {error["pointer"]: error["detail"] for error in problem["errors"]}


@pytest.mark.parametrize(
    ("changes", "pointer", "reason"),
    [
        ({"epoch": 3}, "/epoch", "did you mean 'epochs'"),
        ({"optimizer": {"name": "adam", "learning_rate": 1.0}}, "/optimizer/learning_rate", "unknown field"),
        ({"optimizer": {"name": "adma"}}, "/optimizer", "did you mean 'adam'"),
        ({"optimizer": {"lr": 1.0}}, "/optimizer", "'name'"),
        ({"optimizer": {"name": "sgd", "lr": -0.1}}, "/optimizer/lr", "greater than 0"),
        ({"optimizer": {"name": "sgd", "lr": 0}}, "/optimizer/lr", "greater than 0"),
        ({"optimizer": {"name": "several"}}, "/optimizer/parts", "is missing"),
        ({"optimizer": {"name": "several", "lr": 0.1, "parts": PARTS}}, "/optimizer/lr", "known: 'name', 'parts'"),
        ({"optimizer": {"name": "several", "parts": PARTS[:1]}}, "/optimizer/parts", "must have 2 to 20 parts; got 1"),
        ({"optimizer": {"name": "several", "parts": PARTS * 11}}, "/optimizer/parts", "at most 20"),
        (add_part({"name": "lbfgs"}), "/optimizer/parts/2/optimizer", "'lbfgs' requires all parameters"),
        (add_part({"name": "several", "parts": PARTS}), "/optimizer/parts/2/optimizer", "'several' cannot be nested"),
        (add_part({"name": "adma"}), "/optimizer/parts/2/optimizer", "did you mean 'adam'"),
        (add_part({"name": "adam", "lrr": 1.0}), "/optimizer/parts/2/optimizer/lrr", "did you mean 'lr'"),
        (add_part({"name": "sgd", "lr": 0}), "/optimizer/parts/2/optimizer/lr", "greater than 0"),
        (add_part({"name": "sgd", "nesterov": True}), "/optimizer/parts/2/optimizer", "nesterov requires a momentum"),
        (add_part({"name": "adam"}, match=""), "/optimizer/parts/2/match", "at least 1 character"),
        ({"loss": {"name": "crossentropy"}}, "/loss", "did you mean 'cross_entropy'"),
        ({"metrics": ["acuracy"]}, "/metrics/0", "did you mean 'accuracy'"),
        ({"schedule": {"name": "onecycle", "max_lr": 1}}, "/schedule", "did you mean 'one_cycle'"),
        ({"callbacks": [{"name": "early_stoping"}]}, "/callbacks/0", "did you mean 'early_stopping'"),
        ({"architecture": {"name": "convnett"}}, "/architecture/name", "did you mean 'convnet'"),
        ({"architecture": {"name": "convnet", "chanels": [8]}}, "/architecture/chanels", "did you mean 'channels'"),
        ({"architecture": {"name": "convnet", "dropout": 2.0}}, "/architecture/dropout", "less than"),
        ({"architecture": "ResNet18"}, "/architecture/name", "did you mean 'resnet18'?"),
        ({"architecture": "torchvision.models.VGG16"}, "/architecture/name", "did you mean 'vgg16'?"),
        ({"dataset": "MNIST"}, "/dataset/name", "did you mean 'mnist'?"),
        ({"dataset": "FashionMNIST"}, "/dataset/name", "did you mean 'fashion_mnist'?"),
        ({"dataset": "../etc"}, "/dataset/name", "should be 1 to 63 letters, digits"),
        ({"metrics": ["loss"]}, "/metrics/0", "the loss is recorded without an entry in metrics"),
        ({"metrics": "val_loss"}, "/metrics/0", "the loss is recorded without an entry in metrics"),
        ({"metrics": "val_accuracy"}, "/metrics/0", "did you mean 'accuracy'?"),
        ({"dataset": {"name": "digit"}}, "/dataset/name", "did you mean 'digits'"),
        ({"dataset": {"name": "digits", "vald": 0.1}}, "/dataset/vald", "did you mean 'valid'"),
        ({"dataset": {"name": "digits", "version": 7}}, "/dataset/version", "version 7 does not exist"),
        ({"dataset": {"name": "synthetic", "num_classes": 1e9}}, "/dataset/num_classes", "integer"),
        ({"epochs": True}, "/epochs", "integer"),
        ({"epochs": "10"}, "/epochs", "integer"),
        ({"epochs": 10.0}, "/epochs", "integer"),
        ({"epochs": 0}, "/epochs", "greater than or equal to 1"),
        ({"epochs": 2**31}, "/epochs", "less than or equal"),
        ({"seed": -1}, "/seed", "greater than or equal to 0"),
        ({"seed": 2**63}, "/seed", "64 bits"),
        ({"seed": 10**4000}, "/seed", "64 bits"),
        ({"name": "Upper Case"}, "/name", "should be 1 to 63 lower-case letters"),
        ({"name": ""}, "/name", "should be 1 to 63 lower-case letters"),
        ({"name": "a" * 64}, "/name", "should be 1 to 63 lower-case letters"),
        ({"name": "../etc"}, "/name", "should be 1 to 63 lower-case letters"),
        ({"name": "a\u0000b"}, "/name", "NUL"),
        ({"name": "a\ud800"}, "/name", "surrogate"),
        ({"name": "\u202eevil"}, "/name", "should be 1 to 63 lower-case letters"),
        ({"\ud800": 1}, "", "surrogate"),
        ({"device": "tpu"}, "/device", "should be 'auto', 'cpu', 'mps'"),
        ({"kind": "dream"}, "/kind", "train"),
    ],
)
def test_an_invalid_field_error_has_pointer_and_reason(
    client: TestClient, changes: dict[str, Any], pointer: str, reason: str
) -> None:
    errors = submit_invalid(client, SMALL | changes)
    assert reason in errors[pointer]
    assert len(errors) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("field", ['"optimizer": {"name": "adam", "lr": %s}', '"strange": {"deep": [%s]}'])
def test_an_invalid_number_error_has_its_pointer(client: TestClient, number: str, field: str) -> None:
    body = '{"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}, ' + field % number + "}"
    errors = submit_invalid(client, body.encode())
    assert list(errors) in (["/optimizer/lr"], ["/strange/deep/0"])
    assert "finite" in next(iter(errors.values()))


@pytest.mark.parametrize(
    ("changes", "pointer", "reason"),
    [
        ({"loss": {"name": "mse"}}, "/loss/name", "use 'cross_entropy' or"),
        ({"loss": {"name": "bce_with_logits"}}, "/loss/name", "does not fit a classification task"),
        ({"loss": {"name": "cross_entropy", "class_weights": [1, 2, 3]}}, "/loss/class_weights", "10"),
        ({"metrics": ["r2"]}, "/metrics/0/name", "does not fit a classification task"),
        ({"metrics": [{"name": "top_k", "k": 11}]}, "/metrics/0/k", "must be at most 10"),
        ({"metrics": ["accuracy", {"name": "accuracy", "threshold": 0.1}]}, "/metrics/1", "twice"),
        (
            {"callbacks": [{"name": "early_stopping", "monitor": "val_loss"}]},
            "/callbacks/0/monitor",
            "did you mean 'valid_loss'",
        ),
        ({"callbacks": [{"name": "keep_best", "monitor": "valid_f1"}]}, "/callbacks/0/monitor", "is not a metric"),
        (
            {
                "metrics": ["confusion_matrix"],
                "callbacks": [{"name": "keep_best", "monitor": "valid_confusion_matrix"}],
            },
            "/callbacks/0/monitor",
            "is not a metric",
        ),
        ({"schedule": {"name": "plateau", "monitor": "loss"}}, "/schedule/monitor", "is not a metric"),
        (
            {"schedule": {"name": "one_cycle", "max_lr": 1.0}, "optimizer": {"name": "adagrad"}},
            "/schedule/cycle_momentum",
            "no momentum",
        ),
        ({"schedule": {"name": "cyclic", "base_lr": 1.0, "max_lr": 0.1}}, "/schedule/base_lr", "at most max_lr"),
        ({"schedule": {"name": "multi_step", "milestones": [5, 3]}}, "/schedule/milestones", "must increase"),
        ({"batch_size": 5000}, "/batch_size", "1617 training images"),
        ({"device": "cuda"}, "/device", "no worker has 'cuda'"),
        ({"device": "cpu", "precision": "fp16"}, "/precision", "requires a GPU"),
        ({"precision": "fp16"}, "/precision", "requires a GPU"),
        (
            {"dataset": {"name": "digits", "train_transforms": [{"name": "normalize", "mean": [0, 0, 0], "std": [1]}]}},
            "/dataset/train_transforms/0/mean",
            "must have one value per channel",
        ),
        (
            {
                "dataset": {
                    "name": "digits",
                    "train_transforms": [{"name": "random_crop", "padding": 8, "mode": "reflect"}],
                }
            },
            "/dataset/train_transforms/0/padding",
            "must be less than the image size",
        ),
    ],
)
def test_incompatible_parts_of_a_spec_are_named(
    client: TestClient, changes: dict[str, Any], pointer: str, reason: str
) -> None:
    assert reason in submit_invalid(client, SMALL | changes)[pointer]


def test_an_incompatible_layer_error_has_both_shapes(client: TestClient) -> None:
    layers = [{"type": "conv2d", "out": 4, "kernel": 3}, {"type": "relu"}, {"type": "flatten"}]
    layers.append({"type": "linear", "in": 100, "out": 10})
    errors = submit_invalid(client, SMALL | {"architecture": {"name": "layers", "layers": layers}})
    assert "100" in errors["/architecture/layers/3/in"]
    assert "144" in errors["/architecture/layers/3/in"]  # 4 channels of 6 x 6


def test_an_unknown_layer_type_or_option_is_named(client: TestClient) -> None:
    unknown_type = SMALL | {"architecture": {"name": "layers", "layers": [{"type": "conv2"}, *LAYERS]}}
    assert "conv2d" in submit_invalid(client, unknown_type)["/architecture/layers/0"]
    layers = [{"type": "conv2d", "out": 4, "kernel": 3, "pad": 1}, *LAYERS]
    assert (
        "padding"
        in submit_invalid(client, SMALL | {"architecture": {"name": "layers", "layers": layers}})[
            "/architecture/layers/0/pad"
        ]
    )


def test_all_errors_of_a_spec_are_reported_together(client: TestClient) -> None:
    wrong = {"loss": {"name": "mse"}, "metrics": ["mae"], "schedule": {"name": "plateau", "monitor": "x"}}
    assert set(submit_invalid(client, SMALL | wrong)) == {"/loss/name", "/metrics/0/name", "/schedule/monitor"}


def test_a_dataset_without_files_error_names_files_and_folder(client: TestClient, state: State) -> None:
    errors = submit_invalid(client, SMALL | {"dataset": {"name": "fashion_mnist"}})
    assert "idx" in errors["/dataset/name"]
    assert str(state.settings.datasets_dir) in errors["/dataset/name"]


@pytest.mark.parametrize("missing", ["dataset", "architecture"])
def test_a_missing_required_field_is_named(client: TestClient, missing: str) -> None:
    body = {key: value for key, value in SMALL.items() if key != missing}
    assert submit_invalid(client, body) == {f"/{missing}": "is missing"}


@pytest.mark.parametrize("body", [[], "x", 3, None, {}])
def test_a_document_that_is_not_an_object_is_rejected(client: TestClient, body: Any) -> None:
    submit_invalid(client, body)


def test_a_duplicate_key_is_rejected(client: TestClient) -> None:
    errors = submit_invalid(client, b'{"epochs": 1, "dataset": {"name": "digits"}, "epochs": 2}')
    assert errors == {"": "has the duplicate key 'epochs' in an object"}


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_deeply_nested_json_is_rejected(client: TestClient, depth: int) -> None:
    errors = submit_invalid(client, b'{"dataset":' + b"[" * depth + b"]" * depth + b"}")
    assert "nested" in errors[""]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{}x", b"\xff\xfe{}", "{}".encode("utf-16"), b"\xef\xbb\xbf{}", b'{"a": "\xff"}', b"'x'", b"{'a':1}"],
)
def test_a_body_that_is_not_json_in_utf8_is_a_400(client: TestClient, body: bytes) -> None:
    response = client.post("/v1/jobs", content=body, headers=JSON)
    assert response.status_code == (422 if body == b"" else 400), response.text
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "image/png", "json", ""])
def test_another_media_type_is_rejected(client: TestClient, media_type: str) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    response = client.post("/v1/jobs", content=json.dumps(SMALL).encode(), headers=headers)
    assert response.status_code == 415
    assert response.json()["type"] == "/problems/unsupported-media-type"


def test_input_is_not_echoed(client: TestClient) -> None:
    secret = "s3cret" * 10
    response = client.post("/v1/jobs", json=SMALL | {"seed": secret, "name": secret.upper()})
    assert response.status_code == 422
    assert secret not in response.text.lower().replace("\\", "")


def test_a_long_key_is_not_echoed(client: TestClient) -> None:
    response = client.post("/v1/jobs", json=SMALL | {"x" * 500_000: 1})
    assert response.status_code == 422
    assert len(response.content) < 3000


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_rejected(client: TestClient, state: State, declared: bool) -> None:
    body = b" " * (state.settings.max_json_bytes + 1)
    content = body if declared else iter([body[:1000], body[1000:]])
    response = client.post("/v1/jobs", content=content, headers=JSON)
    assert response.status_code == 413
    assert response.json()["type"] == "/problems/too-large"


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "ä", "a b"])
def test_an_invalid_idempotency_key_is_rejected(client: TestClient, key: str) -> None:
    response = client.post("/v1/jobs", json=SMALL, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    assert response.status_code == 422
