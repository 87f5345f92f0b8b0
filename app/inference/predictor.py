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


class Predictor:
    """Maps samples, pictures as uint8 (H, W, C), to raw scores, float32 (B, num_outputs); one thread at a time."""

    def __init__(
        self, network: nn.Module, description: bundle.Description, *, device: str = "cpu", use_bf16: bool = False
    ) -> None:
        self._device = torch.device(device)
        self._preprocess = description.preprocess().to(self._device)
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)
        self._use_bf16 = use_bf16
        shape = description.image_shape
        self.sample_shape = (*shape[1:], shape[0]) if len(shape) == 3 else shape
        self.dtype = "uint8" if len(shape) == 3 else "float32"

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """The network of a bundle, not yet warmed up.

        Raises:
            models.bundle.BadBundle: the files do not make a network.
        """
        return cls(*bundle.load(folder), device=device)

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
        if batch.shape[1:] != self.sample_shape:
            raise ValueError(f"pictures of {batch.shape[1:]} came; the network takes {self.sample_shape}")
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._use_bf16):
            scores = self._network(self._preprocess(torch.from_numpy(batch).to(self._device)))
        raw: NDArray[np.float32] = scores.float().cpu().numpy()
        return raw
