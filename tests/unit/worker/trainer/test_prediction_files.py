"""Files of predictions."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.bundle import compute_sha256
from tests.support import bundles
from worker.trainer.prediction_files import CSV, JSONL, format_prediction, write_predictions

CASES: list[tuple[dict[str, Any], list[float], dict[str, Any]]] = [
    (
        {"task": "classification", "classes": ["a", "b", "c"], "num_outputs": 3},
        [0.25, 0.25, 0.5],
        {"label": "c", "probability": 0.5},
    ),
    ({"task": "binary", "classes": ["a", "b"], "num_outputs": 1}, [0.25], {"label": "a", "probability": 0.75}),
    (
        {"task": "multilabel", "classes": ["a", "b"], "num_outputs": 2},
        [0.25, 0.75],
        {"labels": ["b"], "probabilities": {"a": 0.25, "b": 0.75}},
    ),
    ({"task": "regression", "classes": [], "num_outputs": 2}, [1.5, 2.0], {"values": [1.5, 2.0]}),
]


@pytest.mark.parametrize(("changes", "probability", "expected"), CASES)
def test_prediction_fits_the_task(changes: dict[str, Any], probability: list[float], expected: dict[str, Any]) -> None:
    description = bundles.build_description().model_copy(update=changes)
    prediction = format_prediction(torch.tensor(probability), 2, description)
    assert expected.items() <= prediction.items()
    assert len(prediction.get("top_k", [1, 2])) == 2


def test_rows_are_written_to_both_files_and_labels_are_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"name": "1", "label": "a", "probability": 0.5, "top_k": [{"label": "a", "probability": 0.5}]},
        {"name": "2", "error": {"code": "invalid-picture", "detail": "The file is not an image."}},
    ]
    counts, files = write_predictions(tmp_path / "new", rows, ["name", "label", "error"])
    assert counts == {"a": 1}
    assert [json.loads(line) for line in (tmp_path / "new" / JSONL).read_text().splitlines()] == rows
    with (tmp_path / "new" / CSV).open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["name", "label", "error"],
            ["1", "a", ""],
            ["2", "", "The file is not an image."],
        ]
    for name, file_digest in files.items():
        assert file_digest.sha256 == compute_sha256(tmp_path / "new" / name)


def test_formulas_are_escaped_in_csv_but_not_in_json_lines(tmp_path: Path) -> None:
    formula = '=HYPERLINK("http://example.org")'
    rows: list[dict[str, Any]] = [
        {
            "name": "@a.png",
            "target": "-1",
            "label": formula,
            "probability": 0.5,
            "top_k": [{"label": formula, "probability": 0.5}, {"label": "+2", "probability": 0.25}],
            "scores": [-1.5],
        },
        {"name": "b.png", "target": "x", "error": {"code": "invalid-picture", "detail": "-"}},
    ]
    counts, _ = write_predictions(tmp_path / "new", rows)
    assert counts == {formula: 1}
    assert [json.loads(line) for line in (tmp_path / "new" / JSONL).read_text().splitlines()] == rows
    with (tmp_path / "new" / CSV).open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["name"], first["target"], first["label"]) == ("'@a.png", "'-1", f"'{formula}")
    assert (first["label_2"], first["score_0"]) == ("'+2", "-1.5")
    assert second["name"] == "b.png"


def test_the_columns_of_a_csv_file_are_escaped(tmp_path: Path) -> None:
    write_predictions(tmp_path / "new", [{"=1": 1}])
    assert (tmp_path / "new" / CSV).read_text().splitlines() == ["'=1", "1"]
