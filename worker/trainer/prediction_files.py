"""Writes predictions to a CSV file and to a JSON Lines file, one line per sample."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, assert_never

from torch import Tensor

from core.csv_output import escape_cell
from models.bundle import BundleDescription, compute_sha256
from worker.engine.evaluation import THRESHOLD
from worker.protocol import FileDigest

CSV, JSONL = "predictions.csv", "predictions.jsonl"
Row = dict[str, Any]


def write_predictions(
    folder: Path, rows: Iterable[Row], columns: list[str] | None = None
) -> tuple[Counter[str], dict[str, FileDigest]]:
    """Write the CSV file and the JSON Lines file into a new folder and fsync them.

    Strings in the CSV file are escaped if they start like a formula; those in the JSON Lines file are unchanged.

    Args:
        folder: the folder to create.
        rows: one row per sample.
        columns: the columns of the CSV file. Default: the columns of the first row.

    Returns:
        The number of samples per predicted label, and the digests of the files, keyed by file name.
    """
    folder.mkdir()
    counts: Counter[str] = Counter()
    with (folder / CSV).open("w", newline="", encoding="utf-8") as table, (folder / JSONL).open("w") as lines:
        writer = csv.writer(table)
        for row in rows:
            cells = flatten_row(row)
            if not table.tell():
                columns = columns or list(cells)
                writer.writerow(map(escape_cell, columns))
            writer.writerow([escape_cell(cells.get(column, "")) for column in columns or ()])
            lines.write(json.dumps(row) + "\n")
            counts.update([row["label"]] if "label" in row else row.get("labels", ()))
        for file in (table, lines):
            file.flush()
            os.fsync(file.fileno())
    return counts, {
        name: FileDigest(sha256=compute_sha256(folder / name), size_bytes=(folder / name).stat().st_size)
        for name in (CSV, JSONL)
    }


def format_prediction(probability: Tensor, top_k: int, description: BundleDescription) -> Row:
    """Convert the network's output for one sample to a row, whose fields depend on the model's task.

    A row contains the `top_k` most probable classes, the `labels` of a multilabel task or the `values` of a regression.
    """
    classes = description.classes
    match description.task:
        case "regression":
            return {"values": probability.tolist()}
        case "multilabel":
            pairs = dict(zip(classes, probability.tolist(), strict=True))
            return {"labels": [label for label, p in pairs.items() if p > THRESHOLD], "probabilities": pairs}
        case "binary":
            second = float(probability)
            ranked = sorted(zip(classes, (1 - second, second), strict=True), key=lambda pair: -pair[1])
        case "classification":
            values, indices = probability.topk(min(top_k, len(classes)))
            ranked = [(classes[i], p) for i, p in zip(indices.tolist(), values.tolist(), strict=True)]
        case _:
            assert_never(description.task)
    best = [{"label": label, "probability": p} for label, p in ranked[:top_k]]
    return {**best[0], "top_k": best}


def flatten_row(row: Row) -> Row:
    """Convert a row to the cells of the CSV file, keyed by column."""
    cells = {name: value for name, value in row.items() if not isinstance(value, list | dict)}
    for rank, ranked in enumerate(row.get("top_k", ())[1:], 2):
        cells |= {f"label_{rank}": ranked["label"], f"probability_{rank}": ranked["probability"]}
    if "error" in row:
        cells["error"] = row["error"]["detail"]
    if isinstance(row.get("target"), list):
        cells |= {f"target_{i}": value for i, value in enumerate(row["target"])}
    cells |= {f"value_{i}": value for i, value in enumerate(row.get("values", ()))}
    cells |= {f"score_{i}": score for i, score in enumerate(row.get("scores", ()))}
    return cells | {f"probability_{label}": value for label, value in row.get("probabilities", {}).items()}
