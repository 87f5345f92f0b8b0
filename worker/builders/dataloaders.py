"""Builds the data loaders of a job."""

from typing import Any

import numpy as np

from core.datasets.packed import PackedSplit
from core.datasets.splits import SplitView
from core.errors import InvalidSpec
from core.spec import JobSpec
from worker.builders.transforms import make_transform
from worker.engine.dataloader import ArrayDataLoader, ArraySource, DeviceResidentDataLoader, fits_on_device
from worker.engine.device import Placement
from worker.engine.mixing import BatchMixing
from worker.engine.sampler import SamplerConfig
from worker.engine.transforms import supports_device


def build_train_loader(
    spec: JobSpec,
    placement: Placement,
    train: PackedSplit,
    index: np.ndarray[Any, np.dtype[np.int64]],
    mixing: BatchMixing | None,
) -> ArrayDataLoader:
    """Build the loader of the training samples.

    The samples are kept in GPU memory if they fit and if all transforms can run on the GPU.

    Raises:
        InvalidSpec: every training sample has a weight of 0.
    """
    transforms = [
        transform
        for transform_spec in spec.dataset.train_transforms
        if (transform := make_transform(transform_spec)) is not None
    ]
    is_resident = all(map(supports_device, transforms)) and fits_on_device(train.images, placement)
    loader = DeviceResidentDataLoader if is_resident else ArrayDataLoader
    if train.weights is not None and not train.weights[index].any():
        raise InvalidSpec("every training sample has a weight of 0; at least one must have a weight above 0")
    source = ArraySource(train.images, train.targets, index, train.weights)
    alpha = None if mixing is None else mixing.alpha
    order = SamplerConfig(spec.seed, spec.sampler, spec.drop_last, alpha)
    return loader(source, placement, spec.batch_size * spec.accumulate_batches, order, transforms)


def build_eval_loader(batch_size: int, placement: Placement, view: SplitView) -> ArrayDataLoader:
    """Build a loader for evaluation. It yields the samples of a split in order and without transforms."""
    source = ArraySource(view.images, view.targets, view.index, view.weights)
    return ArrayDataLoader(source, placement, batch_size)
