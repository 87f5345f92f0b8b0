"""One trained network, ready to answer: bundle, preprocessing, network, raw scores. It knows no queue."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.inference.seam import Pixels
from models import bundle
from models.preprocess import Preprocess


class Predictor:
    """Maps pictures, uint8 (H, W, C) each, to raw scores, float32 (B, num_outputs); one thread at a time."""

    def __init__(
        self, network: nn.Module, description: bundle.Description, *, device: str = "cpu", use_bf16: bool = False
    ) -> None:
        self._device = torch.device(device)
        self._preprocess = Preprocess(description.mean, description.std).to(self._device)
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)
        self._use_bf16 = use_bf16
        channels, height, width = description.image_shape
        self.picture_shape = (height, width, channels)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """The network of a bundle, warmed up.

        Raises:
            models.bundle.BadBundle: the files do not make a network.
        """
        predictor = cls(*bundle.load(folder), device=device)
        for size in (1, 2):  # the first batch of a size is slow: kernels are chosen, threads started
            predictor([np.zeros(predictor.picture_shape, np.uint8)] * size)
        return predictor

    @property
    def num_bytes(self) -> int:
        """What the weights take."""
        return sum(
            tensor.numel() * tensor.element_size() for tensor in (*self._network.parameters(), *self._network.buffers())
        )

    def __call__(self, pictures: Sequence[Pixels]) -> NDArray[np.float32]:
        """The raw scores of a batch, (B, num_outputs).

        Raises:
            ValueError: a picture has another shape than the network wants.
        """
        batch = np.stack(pictures)
        if batch.shape[1:] != self.picture_shape:
            raise ValueError(f"pictures of {batch.shape[1:]} came; the network takes {self.picture_shape}")
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._use_bf16):
            scores = self._network(self._preprocess(torch.from_numpy(batch).to(self._device)))
        raw: NDArray[np.float32] = scores.float().cpu().numpy()
        return raw
