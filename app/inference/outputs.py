"""Predictors for each kind of output: scores, embeddings and heatmaps. A bundle is loaded once per kind of output."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from app.inference.predictor import Predictor
from app.inference.types import TOP_CLASS, OutputKind, Pixels, TargetedImage
from app.inference.variant_predictor import VariantPredictor
from core.errors import InvalidSpec
from models import bundle
from models.explanations import UnsupportedArchitecture, compute_embeddings, grad_cam
from models.variants.description import DESCRIPTION


class BatchPredictor(Protocol):
    """Maps a batch of samples to one row of numbers per sample."""

    dtype: str

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""

    @property
    def device(self) -> str:
        """The device on which batches are computed."""

    @property
    def num_bytes(self) -> int:
        """Size of the weights in memory, in bytes."""

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        """Return one row per sample of the batch, (B, num_outputs)."""


def load_predictor(output: OutputKind, folder: Path, *, device: str) -> BatchPredictor:
    """Load a bundle or an exported variant as a predictor for one kind of output.

    Raises:
        models.bundle.BadBundle: the files are not a valid bundle.
        PredictionFailed: a package that the variant requires is not installed.
        InvalidSpec: the network does not support this output.
    """
    match output:
        case "embedding":
            return EmbeddingPredictor.load(folder, device=device)
        case "attention":
            return AttentionPredictor.load(folder, device=device)
        case "scores" if (folder / DESCRIPTION).exists():
            return VariantPredictor.load(folder)
        case "scores":
            return Predictor.load(folder, device=device)


class _HookedPredictor(Predictor):
    """Base class of predictors that read inner layers with hooks. Only one thread at a time may call a predictor."""

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Load a bundle and compute one image, to check that the network supports the output.

        Raises:
            models.bundle.BadBundle: the files are not a valid bundle.
            InvalidSpec: the network does not support this output.
        """
        predictor = cls(*bundle.load_bundle(folder), device=device)
        try:
            predictor([np.zeros(predictor.sample_shape, np.uint8)])
        except UnsupportedArchitecture as error:
            raise InvalidSpec(str(error)) from error
        return predictor

    def choose_threads(self, batch_size: int, target_latency_s: float) -> None:
        """Keep the default of all threads and one instance, because hooks support only one batch at a time."""

    def _preprocess_batch(self, batch: NDArray[np.uint8]) -> torch.Tensor:
        images: torch.Tensor = self._preprocess(torch.from_numpy(np.ascontiguousarray(batch)).to(self._device))
        return images


class EmbeddingPredictor(_HookedPredictor):
    """Maps images, uint8 (H, W, C), to the inputs of the last layer, float32 (B, D)."""

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        """Return the embeddings of a batch, (B, D)."""
        batch = self._preprocess_batch(np.stack(images))
        embeddings: NDArray[np.float32] = compute_embeddings(self._network, batch).cpu().numpy()
        return embeddings


class AttentionPredictor(_HookedPredictor):
    """Maps each image to one row: its scores, followed by the values of its Grad-CAM heatmap, from 0 to 1.

    Rows are float32 (B, num_outputs + H * W). The heatmap explains the class of a `TargetedImage`. For a plain image,
    uint8 (H, W, C), it explains the most probable class.
    """

    def __call__(self, images: Sequence[Pixels | TargetedImage]) -> NDArray[np.float32]:
        """Return the scores and the heatmap of each image."""
        targeted = [image if isinstance(image, TargetedImage) else TargetedImage(image, TOP_CLASS) for image in images]
        targets = torch.tensor([sample.target for sample in targeted], device=self._device)
        batch = self._preprocess_batch(np.stack([sample.image for sample in targeted]))
        scores, heat = grad_cam(self._network, batch, targets)
        rows: NDArray[np.float32] = torch.cat([scores, heat.flatten(1)], dim=1).cpu().numpy()
        return rows
