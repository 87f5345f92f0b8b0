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
from core.datasets.archives import uploads
from core.datasets.archives.entries import read_entry
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.spool import has_image_suffix, is_hidden
from core.errors import InvalidImage, ServiceError
from core.spec import PredictArchiveSpec, PredictSpec
from models import bundle
from models.bundle import BundleDescription, compute_sha256
from worker.builders.evaluation import EvaluationSetup
from worker.engine.device import Placement, use_threads
from worker.engine.evaluation import THRESHOLD, compute_probabilities
from worker.engine.run import EvaluationInterrupted
from worker.protocol import FileDigest, JobCompleted, RunStarted, Start
from worker.trainer.channel import Channel
from worker.trainer.tuning import ProgressReporter

CSV, JSONL = "predictions.csv", "predictions.jsonl"
Row = dict[str, Any]
NamedImage = tuple[str, pictures.Pixels | ServiceError]


def predict_split(spec: PredictSpec, setup: EvaluationSetup, channel: Channel, folder: Path) -> JobCompleted:
    """Write both files into a new folder.

    Raises:
        Interrupted: asked to leave on the way.
    """
    counts, files = _write_files(folder, _predict_rows(spec, setup, channel))
    result = {"split": spec.split, "num_samples": len(setup.names), "counts": dict(counts.most_common())}
    return JobCompleted(result=result, metrics={}, dir=str(folder), files=files)


def predict_archive(start: Start, placement: Placement, channel: Channel) -> JobCompleted:
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
    network, description = bundle.load_bundle(Path(start.model_dir))
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    channel.send(RunStarted(runtime=placement.describe() | {"num_parameters": num_parameters}))
    model = _PlacedModel(network, description, placement)
    source = _Archive(Path(start.archive_path), description)
    folder = Path(start.work_dir) / "answer"
    counts, files = _write_files(
        folder, _predict_archive_rows(spec, source, model, channel), _list_columns(spec.top_k, description)
    )
    result = {
        "num_pictures": source.num_images,
        "num_failed": source.num_failed,
        "num_ignored": source.num_ignored,
        "counts": dict(counts.most_common()),
    }
    return JobCompleted(result=result, metrics={}, dir=str(folder), files=files)


class _PlacedModel:
    """A network with its preprocessing, placed."""

    def __init__(self, network: torch.nn.Module, description: BundleDescription, placement: Placement) -> None:
        self.description = description
        self._network = placement.place_network(network)
        self._preprocess = description.build_preprocessing().to(placement.device)
        self._placement = placement

    def __call__(self, pixels: list[pictures.Pixels]) -> Tensor:
        """The probabilities of pictures, uint8 (H, W, C) each: float32 (B, num_outputs), on the CPU."""
        images = self._placement.place_tensor(torch.from_numpy(np.stack(pixels)))
        with torch.inference_mode(), self._placement.autocast():
            raw = self._network(self._preprocess(images))
        return compute_probabilities(raw.float().cpu(), self.description.task)


class _Archive:
    """The pictures of an archive, one after the other and never on disk."""

    def __init__(self, path: Path, description: BundleDescription) -> None:
        self._path, self._resize, self._limits = path, description.resize, UploadLimits()
        channels, height, width = description.image_shape
        self._image_shape = channels, height, width
        self.num_images = self.num_failed = self.num_ignored = 0

    def __iter__(self) -> Iterator[NamedImage]:
        """Every picture by name. Raises `InvalidArchive`."""
        for parts, body in uploads.read_entries(self._path, self._limits):
            if body is None or is_hidden(parts):
                continue
            content = read_entry(body, self._limits.max_image_bytes)
            try:
                pixels = self._decode(content)
            except ServiceError as error:
                if not has_image_suffix(parts):
                    self.num_ignored += 1
                    continue
                self.num_failed += 1
                yield "/".join(parts), error
            else:
                self.num_images += 1
                yield "/".join(parts), pixels

    def _decode(self, content: bytes | None) -> pictures.Pixels:
        if content is None:
            raise InvalidImage(f"The file has more than {self._limits.max_image_bytes} bytes.")
        return pictures.decode_image(
            content, self._image_shape, resize=self._resize, max_pixels=self._limits.max_pixels
        )


def _predict_archive_rows(
    spec: PredictArchiveSpec, source: Iterable[NamedImage], model: _PlacedModel, channel: Channel
) -> Iterator[Row]:
    images, reporter, number = iter(source), ProgressReporter(channel, 2**31, is_quiet=True), 0
    while batch := list(islice(images, spec.batch_size)):
        if reporter.is_stop_requested:
            raise EvaluationInterrupted
        number += 1
        reporter.report_step(number)
        decoded = [pixels for _, pixels in batch if not isinstance(pixels, ServiceError)]
        probabilities = iter(model(decoded) if decoded else ())
        for name, pixels in batch:
            if isinstance(pixels, ServiceError):
                yield {"name": name, "error": {"code": pixels.slug, "detail": pixels.detail}}
            else:
                yield {"name": name, **_format_prediction(next(probabilities), spec.top_k, model.description)}


def _list_columns(top_k: int, description: BundleDescription) -> list[str]:
    """Of the table, also where the first picture cannot be read."""
    example = _format_prediction(torch.zeros(description.num_outputs), top_k, description)
    return ["name", *_flatten_row(example), "error"]


def _write_files(
    folder: Path, rows: Iterable[Row], columns: list[str] | None = None
) -> tuple[Counter[str], dict[str, FileDigest]]:
    """Both files in a new folder, durably; without `columns` they are those of the first row."""
    folder.mkdir()
    counts: Counter[str] = Counter()
    with (folder / CSV).open("w", newline="", encoding="utf-8") as table, (folder / JSONL).open("w") as lines:
        writer = csv.writer(table)
        for row in rows:
            flat = _flatten_row(row)
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
        name: FileDigest(sha256=compute_sha256(folder / name), size_bytes=(folder / name).stat().st_size)
        for name in (CSV, JSONL)
    }


def _predict_rows(spec: PredictSpec, setup: EvaluationSetup, channel: Channel) -> Iterator[Row]:
    network, reporter = setup.forward.network.eval(), ProgressReporter(channel, len(setup.batches))
    names = iter(setup.names)
    assert not network.training  # noqa: S101 - dropout would be at work
    for number, batch in enumerate(setup.batches.iter_epoch(0), 1):
        if reporter.is_stop_requested:
            raise EvaluationInterrupted
        raw, task = setup.predict(batch.images).cpu(), setup.description.task
        probabilities = compute_probabilities(raw, task)
        for scores, probability, target in zip(raw, probabilities, batch.targets.tolist(), strict=True):
            yield {
                "name": next(names),
                "target": _format_target(target, setup),
                **_format_prediction(probability, spec.top_k, setup.description),
                **({"scores": scores.tolist()} if spec.scores and task != "regression" else {}),
            }
        reporter.report_step(number)


def _format_prediction(probability: Tensor, top_k: int, description: BundleDescription) -> Row:
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


def _format_target(target: Any, setup: EvaluationSetup) -> Any:  # noqa: ANN401 - a class, or numbers
    """The dataset's own word for it."""
    if isinstance(target, int):
        return setup.truths[target]
    return setup.truths[int(target[0])] if len(setup.truths) == 2 and len(target) == 1 else target


def _flatten_row(row: Row) -> Row:
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
