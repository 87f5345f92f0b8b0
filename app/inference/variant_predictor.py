"""Computes the raw scores of a batch with an exported, compiled or quantized variant of a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from app.inference.types import Pixels, stack_batch
from core.errors import PredictionFailed
from models import bundle, variants
from models.variants import MissingPackage, Runner


class VariantPredictor:
    """Maps images, uint8 (H, W, C), to raw scores, float32 (B, num_outputs). Only one thread may call it at a time."""

    def __init__(self, run: Runner, sample_shape: tuple[int, int, int]) -> None:
        """Initialize with the runner of the variant and the shape of one sample, (H, W, C)."""
        self._run = run
        self.sample_shape = sample_shape
        self.dtype = "uint8"
        self.device = "cpu"
        self.num_bytes = 0  # `load` sets this to the size of the files, because runtimes do not report their memory

    @classmethod
    def load(cls, folder: Path, *, compiler: str = "inductor") -> Self:
        """Load a variant without a warm-up. A compiled variant is compiled by its first call, which takes many seconds.

        Raises:
            models.bundle.BadBundle: the files are not a valid variant.
            PredictionFailed: a required package is not installed.
        """
        try:
            channels, height, width = bundle.BundleDescription.model_validate_json(
                (folder / bundle.DESCRIPTION).read_bytes()
            ).image_shape
            runner = variants.open_runner(folder, compiler=compiler)
        except (OSError, ValidationError) as error:
            raise bundle.BadBundle(f"{folder.name} is not a valid variant: {error}") from error
        except MissingPackage as error:
            raise PredictionFailed(f"The variant cannot be run: {error}.") from error
        predictor = cls(runner, (height, width, channels))
        predictor.num_bytes = sum(file.stat().st_size for file in folder.iterdir())
        return predictor

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        """Return the raw scores of a batch, (B, num_outputs).

        Raises:
            ValueError: the shape of an image differs from the input shape of the network.
        """
        return self._run(stack_batch(images, self.sample_shape))
