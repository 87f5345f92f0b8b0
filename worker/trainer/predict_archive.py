"""Predicts all images of an uploaded archive with a registered model."""

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.datasets.archives import uploads
from core.datasets.archives.entries import read_entry
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.spool import has_image_suffix, is_hidden
from core.errors import ServiceError, get_sample_error_code
from core.images import decode_image, make_file_size_error
from core.pixel_conversion import Pixels
from core.resizing import ResizePolicy
from core.spec import PredictArchiveSpec
from models import bundle
from worker.engine.device import Placement
from worker.engine.evaluation import compute_probabilities
from worker.protocol import JobCompleted, RunStarted
from worker.trainer.callbacks import ProgressReporter
from worker.trainer.job_context import JobContext
from worker.trainer.prediction_files import Row, flatten_row, format_prediction, write_predictions
from worker.trainer.runtime_info import count_parameters

NUM_STEPS = 2**31  # placeholder: the number of images is unknown, because the archive is read as a stream
MAX_BATCH_BYTES = 256 * 2**20  # of the decoded images of a batch; a batch of larger images has fewer of them
NamedImage = tuple[str, Pixels | ServiceError]


def predict_archive(spec: PredictArchiveSpec, context: JobContext) -> JobCompleted:
    """Write the predictions for the images of an archive into the result folder.

    If an image cannot be decoded, its line contains an error instead of a prediction.

    Raises:
        EvaluationInterrupted: a stop is requested.
        InvalidArchive: the archive is unsafe, too large or damaged.
    """
    assert context.start.archive_path is not None  # noqa: S101 - the supervisor sends the path for this job kind
    network, description = bundle.load_bundle(context.model_dir)
    runtime = context.placement.describe() | {"num_parameters": count_parameters(network)}
    context.channel.send(RunStarted(runtime=runtime))
    model = _PlacedModel(network, description, context.placement)
    archive = _ImageArchive(Path(context.start.archive_path), description, context.start.archive_limits)
    reporter = ProgressReporter(context.channel, NUM_STEPS, is_quiet=True)
    rows = _predict_rows(spec, archive, model, reporter)
    counts, files = write_predictions(context.result_dir, rows, _list_columns(spec.top_k, description))
    result = {
        "num_pictures": archive.num_images,
        "num_failed": archive.num_failed,
        "num_ignored": archive.num_ignored,
        "counts": dict(counts.most_common()),
    }
    return JobCompleted(result=result, metrics={}, dir=str(context.result_dir), files=files)


class _PlacedModel:
    """A network with its preprocessing, on a device."""

    def __init__(self, network: torch.nn.Module, description: bundle.BundleDescription, placement: Placement) -> None:
        self.description = description
        self._network = placement.place_network(network)
        self._preprocess = description.build_preprocessing().to(placement.device)
        self._placement = placement

    def predict(self, pixels: list[Pixels]) -> Tensor:
        """Return the probabilities for B uint8 images (H, W, C) as a float32 tensor (B, num_outputs) on the CPU."""
        images = self._placement.place_tensor(torch.from_numpy(np.stack(pixels)))
        with torch.inference_mode(), self._placement.autocast():
            raw = self._network(self._preprocess(images))
        return compute_probabilities(raw.float().cpu(), self.description.task)


class _ImageArchive:
    """Decodes the images of an archive one by one, without extracting them to disk."""

    def __init__(self, path: Path, description: bundle.BundleDescription, limits: UploadLimits) -> None:
        self._path = path
        self._resize = ResizePolicy(
            description.resize, description.resize_shorter_side, description.pad_color, description.interpolation
        )
        channels, height, width = description.image_shape
        self._image_shape = channels, height, width
        self._limits = limits
        self.num_images = self.num_failed = self.num_ignored = 0

    def __iter__(self) -> Iterator[NamedImage]:
        """Yield the name of each image with its pixels, or with an error if the image cannot be decoded.

        A file that cannot be decoded and has no image suffix is counted but not yielded.

        Raises:
            InvalidArchive: the archive is unsafe, too large or damaged.
        """
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

    def _decode(self, content: bytes | None) -> Pixels:
        if content is None:
            raise make_file_size_error(self._limits.max_image_bytes)
        return decode_image(content, self._image_shape, resize=self._resize, max_pixels=self._limits.max_pixels)


def _predict_rows(
    spec: PredictArchiveSpec, source: Iterable[NamedImage], model: _PlacedModel, reporter: ProgressReporter
) -> Iterator[Row]:
    images, number = iter(source), 0
    batch_size = max(1, min(spec.batch_size, MAX_BATCH_BYTES // math.prod(model.description.image_shape)))
    while batch := list(islice(images, batch_size)):
        reporter.check_stop_request()
        number += 1
        reporter.report_step(number)
        decoded = [pixels for _, pixels in batch if not isinstance(pixels, ServiceError)]
        probabilities = iter(model.predict(decoded) if decoded else ())
        for name, pixels in batch:
            if isinstance(pixels, ServiceError):
                yield {"name": name, "error": {"code": get_sample_error_code(pixels), "detail": pixels.detail}}
            else:
                yield {"name": name, **format_prediction(next(probabilities), spec.top_k, model.description)}


def _list_columns(top_k: int, description: bundle.BundleDescription) -> list[str]:
    """Return the columns of the CSV file.

    The columns are not taken from the first row, because that row may contain an error instead of a prediction.
    """
    example = format_prediction(torch.zeros(description.num_outputs), top_k, description)
    return ["name", *flatten_row(example), "error"]
