"""The model card of a version."""

from datetime import UTC, datetime
from typing import Any

from app.services.model_card import MAX_CLASSES, build_model_card
from core.db.tables import ModelVersionRow

CARD = """# pets, version 3

A classification model with 1,234 parameters, registered on 2026-01-31.

Only for *my* cats.

## Model

- Architecture: convnet
- Input: image 1 x 8 x 8, resized with `stretch`
- Classes: cat\\|dog, a\\_b
- Weights: sha256 abc

## Training

- Dataset: pets, version 2 (content c0)
- Job: a1
- Epochs: 4, batch size 32, seed 7

## Environment

- device name: Xeon \\#1

## Metrics

| metric | value |
|---|--:|
| valid accuracy | 0.987654 |
| valid loss | NaN |
"""


def build_row(**changes: Any) -> ModelVersionRow:
    bundle = {
        "task": "classification",
        "classes": ["cat|dog", "a_b"],
        "image_shape": [1, 8, 8],
        "table": None,
        "resize": "stretch",
    }
    values: dict[str, Any] = {
        "name": "pets",
        "version": 3,
        "created_at": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "num_parameters": 1234,
        "bundle": bundle | {"architecture": {"name": "convnet"}},
        "sha256": "abc",
        "job_id": "a1",
        "dataset": {"name": "pets", "version": 2, "content_hash": "c0"},
        "spec": {"epochs": 4, "batch_size": 32, "seed": 7},
        "metrics": {"valid_accuracy": 0.98765432, "valid_loss": "NaN"},
    }
    return ModelVersionRow(**values | changes)


def test_a_card_says_how_the_version_came_about() -> None:
    assert build_model_card(build_row(), "Only for *my* cats.\n", {"device_name": "Xeon\n#1"}) == CARD


def test_what_is_not_known_is_left_out() -> None:
    card = build_model_card(build_row(dataset={}, spec={}, metrics={}), None, {})
    assert "## Training\n\n- Job: a1\n" in card
    assert not any(part in card for part in ("Dataset", "Environment", "Metrics", "Epochs", "None"))


def test_only_the_first_of_many_classes_are_named() -> None:
    row = build_row(bundle=build_row().bundle | {"classes": [str(number) for number in range(MAX_CLASSES + 2000)]})
    (line,) = [line for line in build_model_card(row, None, {}).splitlines() if line.startswith("- Classes")]
    assert line.endswith(", 98, 99 and 2,000 more")
