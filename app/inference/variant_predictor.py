"""One trained network in another form, ready to answer: exported, compiled or quantised. It knows no queue."""

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
    """Maps pictures, uint8 (H, W, C) each, to raw scores, float32 (B, num_outputs); one thread at a time."""

    def __init__(self, run: Runner, sample_shape: tuple[int, int, int]) -> None:
        """`sample_shape`: (H, W, C)."""
        self._run = run
        self.sample_shape = sample_shape
        self.dtype = "uint8"
        self.device = "cpu"
        self.num_bytes = 0  # what its files take: runtimes do not tell what they hold

    @classmethod
    def load(cls, folder: Path, *, compiler: str = "inductor") -> Self:
        """What a variant's folder holds, not yet warmed up; compiling takes many seconds.

        Raises:
            models.bundle.BadBundle: the files are no variant.
            PredictionFailed: what runs it is not installed here, or it is for download only.
        """
        try:
            channels, height, width = bundle.Description.model_validate_json(
                (folder / bundle.DESCRIPTION).read_bytes()
            ).image_shape
            runner = variants.open_runner(folder, compiler=compiler)
        except (OSError, ValidationError) as error:
            raise bundle.BadBundle(f"{folder.name} is no variant: {error}") from error
        except MissingPackage as error:
            raise PredictionFailed(f"The variant cannot be run: {error}.") from error
        predictor = cls(runner, (height, width, channels))
        predictor.num_bytes = sum(file.stat().st_size for file in folder.iterdir())
        return predictor

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        """The raw scores of a batch, (B, num_outputs).

        Raises:
            ValueError: a picture has another shape than the network wants.
        """
        return self._run(stack_batch(images, self.sample_shape))
