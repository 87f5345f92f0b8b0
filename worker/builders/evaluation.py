"""Builds the objects to evaluate a registered model: its network, its preprocessing and the samples of a split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from core.datasets.packed import PackedDataset, PackedMeta
from core.datasets.splits import SplitView, plan_splits, resolve_splits
from core.errors import InvalidSpec
from core.spec import ModelJobSpec, metrics
from models import bundle
from models.averaged_views import AveragedViews, Views
from worker.builders.losses import make_loss
from worker.builders.metrics import make_accumulator
from worker.builders.task_defaults import TASK_DEFAULTS
from worker.engine.callbacks import ValidationSamples
from worker.engine.dataloader import ArrayDataLoader, ArraySource
from worker.engine.device import Placement
from worker.engine.forward_pass import ForwardPass
from worker.engine.losses import ScaledTargetLoss, TargetScaler
from worker.engine.metrics.accumulator import MetricAccumulator

DEFAULT_LABELS = ("0", "1")


@dataclass(frozen=True)
class EvaluationSetup:
    """A network with its preprocessing, and the batches of a split.

    Attributes:
        forward: applies the preprocessing, then the network.
        description: the content of the model's `bundle.json`.
        num_parameters: number of parameters of the network.
        batches: the loader of the split's samples. It yields them in order, without augmentation.
        names: the names of the samples, in the order of the batches.
        samples: where the samples are in the dataset, for reports.
        truths: the dataset's class names. The tuple is empty for a regression.
        accumulator: accumulates the requested metrics over the batches.
    """

    forward: ForwardPass
    description: bundle.BundleDescription
    num_parameters: int
    batches: ArrayDataLoader
    names: list[str]
    samples: ValidationSamples
    truths: tuple[str, ...]
    accumulator: MetricAccumulator

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return the raw scores for a uint8 tensor of images (B, H, W, C) as a float32 tensor (B, num_outputs)."""
        return self.forward.predict(images)


def build_evaluation(
    spec: ModelJobSpec,
    requested_metrics: tuple[metrics.MetricSpec, ...],
    packed: PackedDataset,
    model_dir: Path,
    placement: Placement,
    views: Views | Literal["none"] = "none",
) -> EvaluationSetup:
    """Load the model's network and select the samples of the split that the spec names.

    `views`: the views of each image over which the scores are averaged, besides the image itself.

    Raises:
        InvalidSpec: the dataset does not have the split, or is not compatible with the model.
        BadBundle: the network cannot be built.
    """
    network, description = bundle.load_bundle(model_dir)
    meta = packed.meta
    if meta.image_shape != description.image_shape:
        raise InvalidSpec(
            f"the model requires samples of shape {description.image_shape}; the dataset has {meta.image_shape}"
        )
    if not _has_same_columns(meta, description):
        raise InvalidSpec("the columns or categories of the dataset differ from those of the model")
    view, names, split = _select_samples(spec, packed)
    network = placement.place_network(network)
    scored = network if views == "none" else AveragedViews(network, views)
    preprocess = description.build_preprocessing().to(placement.device)
    same_task = (meta.task, meta.num_outputs) == (description.task, description.num_outputs)
    if requested_metrics and not same_task:
        raise _build_task_error(meta, description)
    loss = _build_loss(description, meta, view) if same_task else torch.nn.Identity()
    return EvaluationSetup(
        forward=ForwardPass(scored, preprocess, loss.to(placement.device), placement),
        description=description,
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        batches=ArrayDataLoader(
            ArraySource(view.images, view.targets, view.index, view.weights), placement, spec.batch_size
        ),
        names=[names[i] for i in view.index],
        samples=ValidationSamples(
            task=description.task,
            labels=tuple(description.classes or DEFAULT_LABELS),
            split=split,
            index=view.index,
            names=names,
        ),
        truths=meta.classes,
        accumulator=make_accumulator(requested_metrics, meta, placement),
    )


def _build_task_error(meta: PackedMeta, description: bundle.BundleDescription) -> InvalidSpec:
    return InvalidSpec(
        "metrics require a model and a dataset with the same task and the same number of outputs; "
        f"the model's task is {description.task} ({description.num_outputs} outputs); "
        f"the dataset's task is {meta.task} ({meta.num_outputs} outputs)"
    )


def _build_loss(description: bundle.BundleDescription, meta: PackedMeta, view: SplitView) -> torch.nn.Module:
    loss = make_loss(TASK_DEFAULTS[description.task][0], meta, view.targets)
    if not description.target_mean:
        return loss
    scaler = TargetScaler(tuple(description.target_mean), tuple(description.target_std))
    return ScaledTargetLoss(loss, scaler, is_measured=True)


def _has_same_columns(meta: PackedMeta, description: bundle.BundleDescription) -> bool:
    model_columns = [] if description.table is None else [column.model_dump() for column in description.table.columns]
    dataset_columns = [] if meta.table is None else [column.model_dump(mode="json") for column in meta.table.columns]
    return dataset_columns == model_columns


def _select_samples(spec: ModelJobSpec, packed: PackedDataset) -> tuple[SplitView, list[str], str]:
    """Return the samples, the names of all samples of their split in the dataset, and the name of this split."""
    splits = resolve_splits(packed, spec.dataset, spec.seed or 0)
    train = packed.read_split("train")
    if spec.split == "train":
        return SplitView(train.images, train.targets, splits.train_index, train.weights), train.names, "train"
    sizes = plan_splits(packed.meta.splits, spec.dataset.valid, spec.dataset.test)
    view = splits.valid if spec.split == "valid" else splits.test
    is_from_train = sizes.is_valid_from_train if spec.split == "valid" else sizes.is_test_from_train
    if view is None:
        raise InvalidSpec(f"the dataset does not have the split {spec.split!r}; it has {', '.join(packed.meta.splits)}")
    split = "train" if is_from_train else spec.split
    return view, packed.read_split(split).names, split
