"""What a registered model says of every sample of a split, as lines of CSV and of JSON."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_never

from torch import Tensor

from core.spec import PredictSpec
from models.bundle import sha256_of
from worker.assemble.examination import Examination
from worker.channel import Channel
from worker.engine.examination import THRESHOLD, probabilities
from worker.engine.run import Interrupted
from worker.errands import Pace
from worker.protocol import Answered, StoredFile

CSV, JSONL = "predictions.csv", "predictions.jsonl"
Row = dict[str, Any]


def predict(spec: PredictSpec, shown: Examination, channel: Channel, folder: Path) -> Answered:
    """Write both files into a new folder.

    Raises:
        Interrupted: asked to leave on the way.
    """
    folder.mkdir()
    counts: Counter[str] = Counter()
    with (folder / CSV).open("w", newline="", encoding="utf-8") as table, (folder / JSONL).open("w") as lines:
        writer = csv.writer(table)
        for number, row in enumerate(_rows(spec, shown, channel)):
            flat = _flat(row)
            if number == 0:
                writer.writerow(flat)
            writer.writerow(flat.values())
            lines.write(json.dumps(row) + "\n")
            counts.update([row["label"]] if "label" in row else row.get("labels", ()))
        for file in (table, lines):
            file.flush()
            os.fsync(file.fileno())
    files = {
        name: StoredFile(sha256=sha256_of(folder / name), size_bytes=(folder / name).stat().st_size)
        for name in (CSV, JSONL)
    }
    result = {"split": spec.split, "num_samples": len(shown.names), "counts": dict(counts.most_common())}
    return Answered(result=result, metrics={}, dir=str(folder), files=files)


def _rows(spec: PredictSpec, shown: Examination, channel: Channel) -> Iterator[Row]:
    network, pace = shown.forward.network.eval(), Pace(channel, len(shown.batches))
    names = iter(shown.names)
    assert not network.training  # noqa: S101 - dropout would be at work
    for number, batch in enumerate(shown.batches.epoch(0), 1):
        if pace.is_leaving:
            raise Interrupted
        found = probabilities(shown.pred(batch.images).cpu(), shown.description.task)
        for probability, target in zip(found, batch.targets.tolist(), strict=True):
            yield {"name": next(names), "target": _truth(target, shown), **_words(probability, spec.top_k, shown)}
        pace.tell(number)


def _words(probability: Tensor, top_k: int, shown: Examination) -> Row:
    """One sample's answer: ranked classes, the labels that are present, or values."""
    classes = shown.description.classes
    match shown.description.task:
        case "regression":
            return {"values": probability.tolist()}
        case "multilabel":
            pairs = dict(zip(classes, probability.tolist(), strict=True))
            return {"labels": [label for label, p in pairs.items() if p > THRESHOLD], "probabilities": pairs}
        case "binary":
            second = float(probability)
            ranked = sorted(zip(classes, (1 - second, second), strict=True), key=lambda pair: -pair[1])
        case "classification":
            values, places = probability.topk(min(top_k, len(classes)))
            ranked = [(classes[i], p) for i, p in zip(places.tolist(), values.tolist(), strict=True)]
        case _:
            assert_never(shown.description.task)
    best = [{"label": label, "probability": p} for label, p in ranked[:top_k]]
    return {**best[0], "top_k": best}


def _truth(target: Any, shown: Examination) -> Any:  # noqa: ANN401 - a class, or numbers
    """The dataset's own word for it."""
    if isinstance(target, int):
        return shown.truths[target]
    return shown.truths[int(target[0])] if len(shown.truths) == 2 and len(target) == 1 else target


def _flat(row: Row) -> Row:
    """One sample as cells of a table; always of the same columns."""
    cells = {name: value for name, value in row.items() if not isinstance(value, list | dict)}
    for rank, one in enumerate(row.get("top_k", ())[1:], 2):
        cells |= {f"label_{rank}": one["label"], f"probability_{rank}": one["probability"]}
    if isinstance(row["target"], list):
        cells |= {f"target_{i}": value for i, value in enumerate(row["target"])}
    cells |= {f"value_{i}": value for i, value in enumerate(row.get("values", ()))}
    return cells | {f"probability_{label}": value for label, value in row.get("probabilities", {}).items()}
