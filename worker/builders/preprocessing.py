"""Builds the preprocessing of a job's network. All splits and predictions use the same preprocessing."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from core.datasets.packed import PackedMeta, Samples
from core.datasets.splits import Index
from core.errors import InvalidSpec
from core.spec import JobSpec, RegisterSpec, TrainingSpec, transforms
from core.spec.job import PRETRAINED
from models import bundle, registry

MAX_SAMPLE_INPUTS = 5_000
SAMPLE_BATCH_SIZE = 250


def build_preprocessing(spec: JobSpec, meta: PackedMeta) -> nn.Module:
    """Build the module that converts the dataset's samples to the network's inputs."""
    architecture = spec.architecture
    moments = get_normalization(spec, meta)
    return bundle.build_preprocessing(
        architecture.name, architecture.options, meta.image_shape, moments, get_cardinalities(meta)
    )


def iter_sample_inputs(preprocess: nn.Module, samples: Samples, index: Index) -> Iterator[Tensor]:
    """Yield network inputs of up to `MAX_SAMPLE_INPUTS` selected samples, in batches. The same samples each time.

    The samples are evenly spaced, because the samples of many datasets are sorted by class.
    """
    spaced = np.linspace(0, len(index) - 1, min(len(index), MAX_SAMPLE_INPUTS)).astype(np.int64)
    for part in np.array_split(index[spaced], -(-len(spaced) // SAMPLE_BATCH_SIZE)):
        yield preprocess(torch.from_numpy(samples[part]))


def get_normalization(spec: JobSpec, meta: PackedMeta) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each channel.

    The values are taken from the `normalize` transform, else from the pretrained weights, else from the training split.

    Raises:
        InvalidSpec: `normalize` does not have one value per channel.
    """
    num_channels = meta.image_shape[0]
    for transform in spec.dataset.train_transforms:
        if isinstance(transform, transforms.NormalizeSpec):
            if len(transform.mean) != num_channels or len(transform.std) != num_channels:
                raise InvalidSpec(
                    f"normalize: mean and std must have {num_channels} values, one per channel; "
                    f"they have {len(transform.mean)} and {len(transform.std)}"
                )
            return transform.mean, transform.std
    if spec.weights == PRETRAINED:
        pretrained = get_pretrained_weights(spec)
        return (pretrained.mean,) * num_channels, (pretrained.deviation,) * num_channels
    return meta.mean, meta.std


def get_pretrained_weights(spec: TrainingSpec | RegisterSpec) -> registry.PretrainedWeights:
    """Return the pretrained weights of the job's architecture.

    Raises:
        InvalidSpec: the architecture has no pretrained weights.
    """
    pretrained = registry.get_architecture(spec.architecture.name).pretrained
    if pretrained is None:
        raise InvalidSpec(f"architecture {spec.architecture.name!r} has no pretrained weights")
    return pretrained


def get_cardinalities(meta: PackedMeta) -> tuple[int, ...]:
    """Return the number of categories of each column of a table. For images, return an empty tuple."""
    return () if meta.table is None else meta.table.cardinalities
