"""What else a network can be asked than its scores; each view is loaded as a network of its own, by its own key."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from app.inference.predictor import Predictor
from app.inference.types import Pixels, class_of, rows_for_class, split_key
from app.inference.variant_predictor import VariantPredictor
from core.errors import InvalidSpec
from models import bundle
from models.explanations import UnsupportedArchitecture, embed, grad_cam
from models.variants.description import DESCRIPTION


class PredictorLike(Protocol):
    """Pictures in, a row of numbers for each out."""

    dtype: str

    @property
    def sample_shape(self) -> tuple[int, ...]: ...
    @property
    def device(self) -> str: ...
    @property
    def num_bytes(self) -> int: ...
    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]: ...


def load_predictor(key: str, folder: Path, *, device: str) -> PredictorLike:
    """What a key asks of a bundle: its scores, as trained or in another form, its embeddings, its attention.

    Raises:
        models.bundle.BadBundle: the files do not make a network.
        PredictionFailed: what runs it is not installed here.
        InvalidSpec: the network has not what is asked.
    """
    match split_key(key)[1]:
        case "embedding":
            return EmbeddingPredictor.load(folder, device=device)
        case "attention":
            return AttentionPredictor.load(folder, device=device)
        case "scores" if (folder / DESCRIPTION).exists():
            return VariantPredictor.load(folder)
        case "scores":
            return Predictor.load(folder, device=device)


class _View(Predictor):
    """A network with its preprocessing, of which a subclass asks something else; one thread at a time."""

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """The network of a bundle, asked once.

        Raises:
            models.bundle.BadBundle: the files do not make a network.
            InvalidSpec: the network has not what is asked.
        """
        view = cls(*bundle.load(folder), device=device)
        try:
            view([np.zeros(view.sample_shape, np.uint8)])
        except UnsupportedArchitecture as error:
            raise InvalidSpec(str(error)) from error
        return view

    def choose_threads(self, batch_size: int, enough_s: float) -> None:
        """All threads, and no lanes: what is asked comes from hooks of the network, which are one batch's."""

    def _prepared(self, pictures: NDArray[np.uint8]) -> torch.Tensor:
        images: torch.Tensor = self._preprocess(torch.from_numpy(np.ascontiguousarray(pictures)).to(self._device))
        return images


class EmbeddingPredictor(_View):
    """Maps pictures, uint8 (H, W, C) each, to the vectors before the last layer, float32 (B, D)."""

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = embed(self._network, self._prepared(np.stack(images))).cpu().numpy()
        return vectors


class AttentionPredictor(_View):
    """Maps pictures to where their network looked: float32 (B, num_outputs + H * W), scores and then heat, 0..1.

    Below each picture, uint8 (H, W, C), lie rows that say which class is meant, see `seam.with_class`.
    """

    def __init__(
        self, network: torch.nn.Module, description: bundle.Description, *, device: str = "cpu", use_bf16: bool = False
    ) -> None:
        super().__init__(network, description, device=device, use_bf16=use_bf16)
        height, width, channels = self.sample_shape
        self._height = height
        self.sample_shape = (height + rows_for_class(width, channels), width, channels)

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        stacked = np.stack(images)
        classes = torch.tensor([class_of(image[self._height :]) for image in stacked], device=self._device)
        scores, heat = grad_cam(self._network, self._prepared(stacked[:, : self._height]), classes)
        rows: NDArray[np.float32] = torch.cat([scores, heat.flatten(1)], dim=1).cpu().numpy()
        return rows
