"""What a registered model says of every sample of a split or an archive, as lines of CSV and of JSON."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import torch
from torch import Tensor

from core import images as pictures
from core.datasets.archives import archive
from core.datasets.archives.entries import Limits, read_whole
from core.datasets.archives.spool import is_hidden, is_named_as_image
from core.errors import InvalidImage, ServiceError
from core.spec import PredictArchiveSpec, PredictSpec
from models import bundle
from models.bundle import Description, sha256_of
from worker.builders.evaluation import EvaluationSetup
from worker.engine.device import Placement, use_threads
from worker.engine.evaluation import THRESHOLD, probabilities
from worker.engine.run import Interrupted
from worker.protocol import Answered, Start, Started, StoredFile
from worker.trainer.channel import Channel
from worker.trainer.tuning import ProgressReporter

CSV, JSONL = "predictions.csv", "predictions.jsonl"
Row = dict[str, Any]
Found = tuple[str, pictures.Pixels | ServiceError]


def predict(spec: PredictSpec, shown: EvaluationSetup, channel: Channel, folder: Path) -> Answered:
    """Write both files into a new folder.

    Raises:
        Interrupted: asked to leave on the way.
    """
    counts, files = _write(folder, _rows(spec, shown, channel))
    result = {"split": spec.split, "num_samples": len(shown.names), "counts": dict(counts.most_common())}
    return Answered(result=result, metrics={}, dir=str(folder), files=files)


def predict_archive(start: Start, placement: Placement, channel: Channel) -> Answered:
    """Write both files for the pictures of an archive; one that cannot be read has an error in its line.

    Raises:
        Interrupted: asked to leave on the way.
        InvalidArchive: unsafe, too large or damaged.
    """
    spec = start.spec
    assert isinstance(spec, PredictArchiveSpec)  # noqa: S101 - the caller's match
    assert start.model_dir is not None  # noqa: S101 - the supervisor gives both with this kind
    assert start.archive_path is not None  # noqa: S101
    use_threads(placement.threads)
    network, description = bundle.load(Path(start.model_dir))
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    channel.send(Started(runtime=placement.describe() | {"num_parameters": num_parameters}))
    ask = _Asked(network, description, placement)
    source = _Archive(Path(start.archive_path), description)
    folder = Path(start.work_dir) / "answer"
    counts, files = _write(folder, _archive_rows(spec, source, ask, channel), _columns(spec.top_k, description))
    result = {
        "num_pictures": source.num_images,
        "num_failed": source.num_failed,
        "num_ignored": source.num_ignored,
        "counts": dict(counts.most_common()),
    }
    return Answered(result=result, metrics={}, dir=str(folder), files=files)


class _Asked:
    """A network with its preprocessing, placed."""

    def __init__(self, network: torch.nn.Module, description: Description, placement: Placement) -> None:
        self.description = description
        self._network = placement.network(network)
        self._preprocess = description.preprocess().to(placement.device)
        self._placement = placement

    def __call__(self, pixels: list[pictures.Pixels]) -> Tensor:
        """The probabilities of pictures, uint8 (H, W, C) each: float32 (B, num_outputs), on the CPU."""
        images = self._placement.tensor(torch.from_numpy(np.stack(pixels)))
        with torch.inference_mode(), self._placement.autocast():
            raw = self._network(self._preprocess(images))
        return probabilities(raw.float().cpu(), self.description.task)


class _Archive:
    """The pictures of an archive, one after the other and never on disk."""

    def __init__(self, path: Path, description: Description) -> None:
        self._path, self._resize, self._limits = path, description.resize, Limits()
        channels, height, width = description.image_shape
        self._image_shape = channels, height, width
        self.num_images = self.num_failed = self.num_ignored = 0

    def __iter__(self) -> Iterator[Found]:
        """Every picture by name. Raises `InvalidArchive`."""
        for parts, body in archive.entries(self._path, self._limits):
            if body is None or is_hidden(parts):
                continue
            whole = read_whole(body, self._limits.max_image_bytes)
            try:
                pixels = self._read(whole)
            except ServiceError as error:
                if not is_named_as_image(parts):
                    self.num_ignored += 1
                    continue
                self.num_failed += 1
                yield "/".join(parts), error
            else:
                self.num_images += 1
                yield "/".join(parts), pixels

    def _read(self, whole: bytes | None) -> pictures.Pixels:
        if whole is None:
            raise InvalidImage(f"The file has more than {self._limits.max_image_bytes} bytes.")
        return pictures.read(whole, self._image_shape, resize=self._resize, max_pixels=self._limits.max_pixels)


def _archive_rows(spec: PredictArchiveSpec, source: Iterable[Found], ask: _Asked, channel: Channel) -> Iterator[Row]:
    found, pace, number = iter(source), ProgressReporter(channel, 2**31, is_quiet=True), 0
    while batch := list(islice(found, spec.batch_size)):
        if pace.is_leaving:
            raise Interrupted
        number += 1
        pace.tell(number)
        well = [pixels for _, pixels in batch if not isinstance(pixels, ServiceError)]
        answers = iter(ask(well) if well else ())
        for name, pixels in batch:
            if isinstance(pixels, ServiceError):
                yield {"name": name, "error": {"code": pixels.slug, "detail": pixels.detail}}
            else:
                yield {"name": name, **_words(next(answers), spec.top_k, ask.description)}


def _columns(top_k: int, description: Description) -> list[str]:
    """Of the table, also where the first picture cannot be read."""
    example = _words(torch.zeros(description.num_outputs), top_k, description)
    return ["name", *_flat(example), "error"]


def _write(
    folder: Path, rows: Iterable[Row], columns: list[str] | None = None
) -> tuple[Counter[str], dict[str, StoredFile]]:
    """Both files in a new folder, durably; without `columns` they are those of the first row."""
    folder.mkdir()
    counts: Counter[str] = Counter()
    with (folder / CSV).open("w", newline="", encoding="utf-8") as table, (folder / JSONL).open("w") as lines:
        writer = csv.writer(table)
        for row in rows:
            flat = _flat(row)
            if not table.tell():
                columns = columns or list(flat)
                writer.writerow(columns)
            writer.writerow([flat.get(column, "") for column in columns or ()])
            lines.write(json.dumps(row) + "\n")
            counts.update([row["label"]] if "label" in row else row.get("labels", ()))
        for file in (table, lines):
            file.flush()
            os.fsync(file.fileno())
    return counts, {
        name: StoredFile(sha256=sha256_of(folder / name), size_bytes=(folder / name).stat().st_size)
        for name in (CSV, JSONL)
    }


def _rows(spec: PredictSpec, shown: EvaluationSetup, channel: Channel) -> Iterator[Row]:
    network, pace = shown.forward.network.eval(), ProgressReporter(channel, len(shown.batches))
    names = iter(shown.names)
    assert not network.training  # noqa: S101 - dropout would be at work
    for number, batch in enumerate(shown.batches.epoch(0), 1):
        if pace.is_leaving:
            raise Interrupted
        raw, task = shown.pred(batch.images).cpu(), shown.description.task
        found = probabilities(raw, task)
        for scores, probability, target in zip(raw, found, batch.targets.tolist(), strict=True):
            yield {
                "name": next(names),
                "target": _truth(target, shown),
                **_words(probability, spec.top_k, shown.description),
                **({"scores": scores.tolist()} if spec.scores and task != "regression" else {}),
            }
        pace.tell(number)


def _words(probability: Tensor, top_k: int, description: Description) -> Row:
    """One sample's answer: ranked classes, the labels that are present, or values."""
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
            values, places = probability.topk(min(top_k, len(classes)))
            ranked = [(classes[i], p) for i, p in zip(places.tolist(), values.tolist(), strict=True)]
        case _:
            assert_never(description.task)
    best = [{"label": label, "probability": p} for label, p in ranked[:top_k]]
    return {**best[0], "top_k": best}


def _truth(target: Any, shown: EvaluationSetup) -> Any:  # noqa: ANN401 - a class, or numbers
    """The dataset's own word for it."""
    if isinstance(target, int):
        return shown.truths[target]
    return shown.truths[int(target[0])] if len(shown.truths) == 2 and len(target) == 1 else target


def _flat(row: Row) -> Row:
    """One sample as cells of a table; always of the same columns."""
    cells = {name: value for name, value in row.items() if not isinstance(value, list | dict)}
    for rank, one in enumerate(row.get("top_k", ())[1:], 2):
        cells |= {f"label_{rank}": one["label"], f"probability_{rank}": one["probability"]}
    if "error" in row:
        cells["error"] = row["error"]["detail"]
    if isinstance(row.get("target"), list):
        cells |= {f"target_{i}": value for i, value in enumerate(row["target"])}
    cells |= {f"value_{i}": value for i, value in enumerate(row.get("values", ()))}
    cells |= {f"score_{i}": score for i, score in enumerate(row.get("scores", ()))}
    return cells | {f"probability_{label}": value for label, value in row.get("probabilities", {}).items()}
