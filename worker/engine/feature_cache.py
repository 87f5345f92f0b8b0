"""Computes the outputs of a network's frozen layers (features) once per sample, and trains the other layers with them.

The results are the same as without the cache, bit by bit, if the features of a sample do not depend on its position in
a batch. `check_features` compares them in two orders. Features depend on the number of samples of a forward pass:
training batches of another size than the cached ones contain images, to which the whole network is applied.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.network_split import CannotSplit, NetworkSplit
from worker.engine.batch import Batch
from worker.engine.dataloader import ArrayDataLoader, Chunk
from worker.engine.device import Placement
from worker.engine.feature_table import FeatureTable
from worker.engine.forward_pass import ForwardPass
from worker.engine.run import Run

NUM_CHECKED_BATCHES = 2
OnBatch = Callable[[], object]


class FeatureForwardPass(ForwardPass):
    """Applies the head of a network to features, and the whole network to images."""

    def __init__(self, forward: ForwardPass, split: NetworkSplit) -> None:
        vars(self).update(vars(forward))  # the same preprocessing, loss, precision and modules
        self._split = split
        self._head = split.build_head(forward.network)

    def predict(self, images: Tensor) -> Tensor:
        """Return the raw scores, float32 (B, num_outputs), for uint8 images (B, H, W, C) or features (B, *features)."""
        if images.dtype == torch.uint8:
            return super().predict(images)
        with self._autocast:
            pred: Tensor = self._head(images)
        return pred.float()

    def compute_features(self, images: Tensor) -> Tensor:
        """Return the features, (B, *features), of images, uint8 (B, H, W, C)."""
        inputs = self.preprocess(images)
        with self._autocast:
            features: Tensor = self._split.body(inputs)
        return features

    def copy_with_network(self, network: nn.Module) -> "FeatureForwardPass":
        """Return a copy that uses another network with the same frozen weights, for example an average."""
        return FeatureForwardPass(super().copy_with_network(network), self._split)


class FeatureDataLoader(ArrayDataLoader):
    """Yields the same batches as a loader of images, but with features in place of the images."""

    def __init__(
        self, loader: ArrayDataLoader, table: FeatureTable, forward_size: int | None, micro_size: int | None
    ) -> None:
        """Replace the images of a loader without transforms.

        Args:
            loader: the loader of the images.
            table: the features of the loader's samples, in the order of the loader's index.
            forward_size: the number of samples with which the features were computed. Batches whose forward passes have
                other sizes keep their images. None: the features were computed with the batches of the loader.
            micro_size: the maximum number of samples of a forward pass. None: the whole batch.
        """
        vars(self).update(vars(loader))  # the same samples, targets and order
        self._table = table
        self._forward_size, self._micro_size = forward_size, micro_size
        self._row_by_sample = np.zeros(len(self._images), dtype=np.int64)
        self._row_by_sample[self._index] = np.arange(len(self._index))
        self._prefetches = self._placement.device.type == "cuda"

    def _iter_chunks(self, number: int, start: int) -> Iterator[Chunk]:
        order = self._order_samples(number)
        for first, end in self._bounds[start:]:
            index = order[first:end]
            if self._forward_size is None or get_forward_size(end - first, self._micro_size) == self._forward_size:
                images = self._table.gather(torch.from_numpy(self._row_by_sample[index]))
            else:
                images = self.read_images(index)
            samples = torch.from_numpy(index)
            weights = None if self._weights is None else self._placement.place_tensor(self._weights[samples])
            yield Chunk([Batch(images, self._placement.place_tensor(self._targets[samples]), weights=weights)])


def get_forward_size(num_samples: int, micro_size: int | None) -> int | None:
    """Return the number of samples of each forward pass of a batch. None: they differ."""
    num_parts = 1 if micro_size is None else -(-num_samples // micro_size)
    return None if num_samples % num_parts else num_samples // num_parts


class FeatureCache:
    """The plan of a cache for a run: how its network is split, and what the features look like."""

    def __init__(self, run: Run) -> None:
        """Split the network, and compute the features of one batch.

        Raises:
            CannotSplit: the features of a sample are not the same in each epoch, or cannot be computed separately.
        """
        self._run = run
        self._samples = run.train_batches.sample_index
        first = min(run.train_batches.batch_size, len(self._samples))
        self._micro_size = run.micro_batch_size
        size = get_forward_size(first, self._micro_size)
        if size is None:
            raise CannotSplit(f"the {first} samples of a batch cannot be divided into equal parts")
        self._forward_size = size
        run.forward.train()
        self.forward = FeatureForwardPass(run.forward, NetworkSplit(run.network, run.frozen_parameters))
        before = _get_rng_states(run.placement)
        self._example = self._compute_rows(0)
        if any(not torch.equal(old, new) for old, new in zip(before, _get_rng_states(run.placement), strict=True)):
            raise CannotSplit("the frozen layers draw random numbers in training")
        if len(self._example) != size:
            raise CannotSplit("the frozen layers do not return one row of features per sample")

    @property
    def num_bytes(self) -> int:
        """The size of the features of all training and validation samples."""
        valid = self._run.valid_batches
        num_samples = len(self._samples) + (0 if valid is None else len(valid.sample_index))
        return num_samples * self._example[0].nbytes

    def describe(self) -> dict[str, Any]:
        """Return the shape, the type and the size of the features as JSON values."""
        dtype = str(self._example.dtype).removeprefix("torch.")
        return {"shape": list(self._example.shape[1:]), "dtype": dtype, "bytes": self.num_bytes}

    def check_features(self) -> bool:
        """Return whether the features of a sample do not depend on its position in the batch.

        The features of the first batches are compared with those of the same samples in another order.
        """
        size = self._forward_size
        num_checked = min(NUM_CHECKED_BATCHES * size, len(self._samples))
        expected = torch.cat([self._compute_rows(start) for start in range(0, num_checked, size)])[:num_checked]
        order = np.random.default_rng(0).permutation(num_checked)
        for start in range(0, num_checked, size):
            positions = np.resize(order[start:], size)
            if not torch.equal(self._compute(self._samples[positions]), expected[torch.from_numpy(positions)]):
                return False
        return True

    def fill(self, folder: Path, on_batch: OnBatch) -> Run:
        """Compute all features, and return a copy of the run that trains and validates with them.

        Args:
            folder: an existing folder for the files of the features.
            on_batch: called after each batch. It can raise an exception to end the computation.

        Raises:
            OSError: the disk is full.
        """
        train = self._fill_training_table(folder, on_batch)
        train.move_to_device()
        run, valid_batches = self._run, self._run.valid_batches
        if valid_batches is not None:
            valid = self._fill_validation_table(valid_batches, folder, on_batch)
            valid.move_to_device()
            valid_batches = FeatureDataLoader(valid_batches, valid, None, None)
        return replace(
            run,
            forward=self.forward,
            train_batches=FeatureDataLoader(run.train_batches, train, self._forward_size, self._micro_size),
            valid_batches=valid_batches,
        )

    def _fill_training_table(self, folder: Path, on_batch: OnBatch) -> FeatureTable:
        table = FeatureTable(folder / "train.bin", len(self._samples), self._example, self._run.placement)
        self._run.forward.train()
        for start in range(0, len(self._samples), self._forward_size):
            table.write(start, self._compute_rows(start)[: len(self._samples) - start])
            on_batch()
        return table

    @torch.no_grad()
    def _fill_validation_table(self, batches: ArrayDataLoader, folder: Path, on_batch: OnBatch) -> FeatureTable:
        """Compute the features with the batches and in the mode of the validation."""
        table, start = None, 0
        self._run.network.eval()
        for batch in batches.iter_epoch(0):
            features = self.forward.compute_features(batch.images)
            if table is None:
                path, num_samples = folder / "valid.bin", len(batches.sample_index)
                table = FeatureTable(path, num_samples, features, self._run.placement)
            table.write(start, features)
            start += len(features)
            on_batch()
        assert table is not None  # noqa: S101 - a validation split has at least one sample
        return table

    def _compute_rows(self, start: int) -> Tensor:
        """Compute the features of a full batch of training samples. The last one continues with the first samples."""
        size = self._forward_size
        return self._compute(self._samples[(start + np.arange(size)) % len(self._samples)])

    def _compute(self, samples: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
        # Gradients stay enabled, as in the training: some layers compute in another way without them.
        images = self._run.train_batches.read_images(samples)
        return self.forward.compute_features(images)


def _get_rng_states(placement: Placement) -> list[Tensor]:
    device = placement.device
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
