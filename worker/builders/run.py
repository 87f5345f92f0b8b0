"""From a job in words to everything that its training needs, wired."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
from torch import nn

from core.datasets.packed import PackedDataset, PackedMeta, PackedSplit
from core.datasets.splits import SplitView, plan_splits, resolve_splits
from core.errors import InvalidSpec
from core.spec import JobSpec, TrainingSpec, callbacks, losses, metrics, transforms
from core.spec.job import PRETRAINED
from models import bundle, registry
from models.logits import to_logits
from worker.builders.callbacks import AVERAGES, make_callback
from worker.builders.losses import make_loss
from worker.builders.metrics import make_metric
from worker.builders.optimizers import make_optimizer
from worker.builders.schedules import make_schedule
from worker.builders.transforms import make_transform
from worker.engine.averaging import Averaging
from worker.engine.callback import Callback, SaveArtifact, noop
from worker.engine.callbacks import KeepBest, NonFiniteGuard, ValidationSamples
from worker.engine.dataloader import ArrayDataLoader, ArraySource, DeviceResidentDataLoader, fits_on_device
from worker.engine.device import Placement, compile_in_place
from worker.engine.forward_pass import ForwardPass
from worker.engine.losses import ScaledTargetLoss, TargetScaler
from worker.engine.metrics import factory
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.mixing import BatchMixing
from worker.engine.oom_recovery import OomBatchSplitter
from worker.engine.optimizer_step import GradientClipping
from worker.engine.run import Run
from worker.engine.sampler import SamplerConfig
from worker.engine.snapshot import RngState
from worker.engine.state import RunState
from worker.engine.transfer import LoadReport, Weights, find_frozen_norms, freeze_parameters, transfer_weights
from worker.engine.transforms import supports_device

T = TypeVar("T")
TASK_DEFAULTS: dict[str, tuple[losses.LossSpec, metrics.MetricSpec]] = {
    "classification": (losses.CrossEntropySpec(), metrics.AccuracySpec()),
    "binary": (losses.BceWithLogitsSpec(), metrics.AccuracySpec()),
    "multilabel": (losses.BceWithLogitsSpec(), metrics.AccuracySpec()),
    "regression": (losses.MseSpec(), metrics.MaeSpec()),
}

DISTANCES = frozenset({"mse", "l1", "smooth_l1", "huber"})


def build_run(
    spec: JobSpec,
    packed: PackedDataset,
    placement: Placement,
    initial_weights: Weights | None = None,
    save_artifact: SaveArtifact = noop,
) -> Run:
    """Build everything a job needs, under its seed; `begin_with` are weights by name, where not fresh ones.

    `leave` takes the files of callbacks.

    Raises:
        InvalidSpec: the parts do not fit each other or the dataset.
        NothingToTransfer: no weight to begin with fits, or none is left to train.
    """
    RngState.seed(spec.seed)
    meta, train, splits = packed.meta, packed.read_split("train"), resolve_splits(packed, spec.dataset, spec.seed)
    network, load_report, frozen = _build_initial_network(spec, meta, placement, initial_weights)
    loss = _build_loss(spec, meta, np.asarray(train.targets[splits.train_index]))
    frozen_norms = find_frozen_norms(network) if spec.freeze_bn_stats else []
    forward = ForwardPass(
        network,
        build_preprocessing(spec, meta).to(placement.device),
        loss.to(placement.device),
        placement,
        frozen_norms,
    )
    optimizer = make_optimizer(spec.optimizer, network, placement.device)
    averaging = _make_averaging(spec, network)
    shared = {
        "save_artifact": save_artifact,
        "validation_samples": _build_validation_samples(spec, packed, splits.valid),
        "loss": loss,
    }
    components = _make_callbacks(spec, network, averaging, shared)
    mixing = next((item for item in components if isinstance(item, BatchMixing)), None)
    batches = _build_train_loader(spec, placement, train, splits.train_index, mixing)
    schedule = spec.schedule and make_schedule(spec.schedule, optimizer, spec.epochs, len(batches))
    new_accumulator = _build_accumulator_factory(spec, meta, placement)
    micro_batch_size = spec.batch_size if spec.accumulate_batches > 1 else None
    return Run(
        state=RunState(max_epochs=spec.epochs, steps_per_epoch=len(batches)),
        placement=placement,
        network=network,
        forward=forward,
        optimizer=optimizer,
        scaler=placement.build_grad_scaler(),
        clipping=_find_first(GradientClipping, components),
        train_batches=batches,
        valid_batches=_build_eval_loader(spec, placement, splits.valid),
        test_batches=None if splits.test is None else _build_eval_loader(spec, placement, splits.test),
        train_accumulator=new_accumulator(split="train"),
        valid_accumulator=new_accumulator(split="valid"),
        new_accumulator=partial(new_accumulator, split="valid"),
        callbacks=tuple(item for item in (schedule, *components) if isinstance(item, Callback)),
        guard=NonFiniteGuard(network),
        keep_best=_find_first(KeepBest, components),
        mixing=mixing,
        averaging=averaging,
        micro_batch_size=micro_batch_size,
        oom_splitter=OomBatchSplitter(network, micro_batch_size) if spec.on_oom == "accumulate" else None,
        load_report=load_report,
        frozen_parameters=tuple(frozen),
    )


def _build_initial_network(
    spec: JobSpec, meta: PackedMeta, placement: Placement, initial_weights: Weights | None
) -> tuple[nn.Module, LoadReport | None, list[str]]:
    """The network with its first weights, what became of those it was given, and what is frozen of it."""
    network = placement.place_network(_build_network(spec, meta))
    if spec.compile:
        compile_in_place(network)
    load_report = None if initial_weights is None else transfer_weights(network, initial_weights)
    return network, load_report, freeze_parameters(network, spec.freeze)


def _build_accumulator_factory(
    spec: JobSpec, meta: PackedMeta, placement: Placement
) -> Callable[..., MetricAccumulator]:
    metric_specs = (TASK_DEFAULTS[meta.task][1],) if spec.metrics is None else spec.metrics
    check_monitors(spec, metric_specs)
    return partial(make_accumulator, metric_specs, meta, placement, scale=build_target_scaler(spec, meta))


def _build_network(spec: JobSpec, meta: PackedMeta) -> nn.Module:
    architecture = spec.architecture
    network = registry.build_network(
        architecture.name, architecture.options, meta.image_shape, meta.num_outputs, get_cardinalities(meta)
    )
    return to_logits(network) if isinstance(spec.loss, losses.BceSpec) else network


def _build_loss(spec: JobSpec, meta: PackedMeta, targets: np.ndarray[Any, Any]) -> nn.Module:
    loss, scale = make_loss(spec.loss or TASK_DEFAULTS[meta.task][0], meta, targets), build_target_scaler(spec, meta)
    return loss if scale is None else ScaledTargetLoss(loss, scale)


def get_normalization(spec: JobSpec, meta: PackedMeta) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation, one a channel: as asked for, else of the weights begun with, else of the split trained on."""
    for transform in spec.dataset.train_transforms:
        if isinstance(transform, transforms.NormalizeSpec):
            if len(transform.mean) != meta.image_shape[0] or len(transform.std) != meta.image_shape[0]:
                raise InvalidSpec(f"normalize needs {meta.image_shape[0]} values, one a channel")
            return transform.mean, transform.std
    if spec.weights == PRETRAINED:
        published, channels = get_pretrained_weights(spec), meta.image_shape[0]
        return (published.mean,) * channels, (published.deviation,) * channels
    return meta.mean, meta.std


def get_pretrained_weights(spec: TrainingSpec) -> registry.PretrainedWeights:
    """The weights that the architecture was published with.

    Raises:
        InvalidSpec: it was published without.
    """
    published = registry.get_architecture(spec.architecture.name).pretrained
    if published is None:
        raise InvalidSpec(f"{spec.architecture.name!r} has no weights of its own to begin with")
    return published


def build_preprocessing(spec: JobSpec, meta: PackedMeta) -> nn.Module:
    """What every split and every prediction goes through."""
    architecture = spec.architecture
    moments = get_normalization(spec, meta)
    return bundle.build_preprocessing(
        architecture.name, architecture.options, meta.image_shape, moments, get_cardinalities(meta)
    )


def get_cardinalities(meta: PackedMeta) -> tuple[int, ...]:
    """Of a table's columns; none of pictures."""
    return () if meta.table is None else meta.table.cardinalities


def build_target_scaler(spec: JobSpec, meta: PackedMeta) -> TargetScaler | None:
    """How a table's targets are brought to mean 0, where the loss compares distances and not rates or shares."""
    loss = spec.loss or TASK_DEFAULTS[meta.task][0]
    if meta.task != "regression" or meta.table is None or loss.name not in DISTANCES:
        return None
    return TargetScaler(meta.target_mean, meta.target_std)


def check_monitors(spec: JobSpec, metric_specs: Sequence[metrics.MetricSpec]) -> None:
    """Refuse a monitor that no epoch will have."""
    available = metrics.list_curves(metric_specs)
    monitors = [getattr(part, "monitor", None) for part in (*spec.callbacks, spec.schedule)]
    for monitor in monitors:
        if monitor is not None and monitor not in available:
            raise InvalidSpec(f"monitor {monitor!r} is no metric of this job; there are {', '.join(available)}")


def make_accumulator(
    metric_specs: Sequence[metrics.MetricSpec],
    meta: PackedMeta,
    placement: Placement,
    *,
    split: Literal["train", "valid"] | None = None,
    scale: TargetScaler | None = None,
) -> MetricAccumulator:
    """Sums of the metrics that are wanted on a split of a training; of no training, unless a split is given.

    Tables are made of what validates alone. `scale` is that of the targets which the network is trained on.
    """
    selected = [spec for spec in metric_specs if split is None or spec.is_of(split)]
    selected = [spec for spec in selected if split != "train" or spec.is_curve]
    metrics_by_key = {spec.key: make_metric(spec, meta).to(placement.device) for spec in selected}
    return MetricAccumulator(
        metrics_by_key, factory.build_adapter(meta.task) if scale is None else scale.build_adapter(placement.device)
    )


def _build_train_loader(
    spec: JobSpec,
    placement: Placement,
    train: PackedSplit,
    index: np.ndarray[Any, np.dtype[np.int64]],
    mixing: BatchMixing | None,
) -> ArrayDataLoader:
    augmentation = [
        augmentation for asked in spec.dataset.train_transforms if (augmentation := make_transform(asked)) is not None
    ]
    is_resident = all(map(supports_device, augmentation)) and fits_on_device(train.images, placement)
    kind = DeviceResidentDataLoader if is_resident else ArrayDataLoader
    if train.weights is not None and not train.weights[index].any():
        raise InvalidSpec("every sample that is left to train on has a weight of 0")
    source = ArraySource(train.images, train.targets, index, train.weights)
    alpha = None if mixing is None else mixing.alpha
    order = SamplerConfig(spec.seed, spec.sampler, spec.drop_last, alpha)
    return kind(source, placement, spec.batch_size * spec.accumulate_batches, order, augmentation)


def _build_validation_samples(spec: JobSpec, packed: PackedDataset, view: SplitView) -> ValidationSamples:
    meta = packed.meta
    split = "train" if plan_splits(meta.splits, spec.dataset.valid).is_valid_from_train else "valid"
    return ValidationSamples(meta.task, meta.classes, split, view.index, packed.read_split(split).names, view.images)


def _make_callbacks(
    spec: JobSpec, network: nn.Module, averaging: Averaging | None, shared: Mapping[str, Any]
) -> list[object]:
    """All but the average itself; the best weights are those of the average, where there is one each epoch."""
    evaluated_network = averaging.network if averaging is not None and averaging.is_ready_each_epoch else network
    return [
        make_callback(asked, evaluated_network if isinstance(asked, callbacks.KeepBestSpec) else network, **shared)
        for asked in spec.callbacks
        if not isinstance(asked, AVERAGES)
    ]


def _find_first(kind: type[T], components: Sequence[object]) -> T | None:
    return next((item for item in components if isinstance(item, kind)), None)


def _make_averaging(spec: JobSpec, network: nn.Module) -> Averaging | None:
    average_spec = next((item for item in spec.callbacks if isinstance(item, AVERAGES)), None)
    callback = None if average_spec is None else make_callback(average_spec, network, epochs=spec.epochs)
    return callback if isinstance(callback, Averaging) else None


def _build_eval_loader(spec: JobSpec, placement: Placement, view: SplitView) -> ArrayDataLoader:
    source = ArraySource(view.images, view.targets, view.index, view.weights)
    return ArrayDataLoader(source, placement, spec.batch_size)
