"""From a job in words to everything that its training needs, wired."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
from torch import nn

from core.datasets.packed import Packed, PackedMeta, PackedSplit
from core.datasets.splits import SplitView, plan, resolve
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
from worker.engine.callback import Callback, Leave, noop
from worker.engine.callbacks import KeepBest, NonFiniteGuard, ValidationSamples
from worker.engine.dataloader import ArrayDataLoader, ArraySource, DeviceResidentDataLoader, fits_on_device
from worker.engine.device import Placement, compile_in_place
from worker.engine.losses import ScaledTargetLoss, TargetScaler
from worker.engine.metrics import factory
from worker.engine.metrics.accumulator import MetricAccumulator
from worker.engine.mixing import BatchMixing
from worker.engine.oom_recovery import OomBatchSplitter
from worker.engine.run import Run
from worker.engine.sampler import SamplerConfig
from worker.engine.snapshot import RngState
from worker.engine.state import RunState
from worker.engine.steps import Clip, ForwardPass
from worker.engine.transfer import LoadReport, Weights, freeze, frozen_norms, transfer
from worker.engine.transforms import works_on_device

T = TypeVar("T")
TASK_DEFAULTS: dict[str, tuple[losses.LossSpec, metrics.MetricSpec]] = {
    "classification": (losses.CrossEntropySpec(), metrics.AccuracySpec()),
    "binary": (losses.BceWithLogitsSpec(), metrics.AccuracySpec()),
    "multilabel": (losses.BceWithLogitsSpec(), metrics.AccuracySpec()),
    "regression": (losses.MseSpec(), metrics.MaeSpec()),
}

DISTANCES = frozenset({"mse", "l1", "smooth_l1", "huber"})


def build_run(
    spec: JobSpec, packed: Packed, placement: Placement, begin_with: Weights | None = None, leave: Leave = noop
) -> Run:
    """Build everything a job needs, under its seed; `begin_with` are weights by name, where not fresh ones.

    `leave` takes the files of callbacks.

    Raises:
        InvalidSpec: the parts do not fit each other or the dataset.
        NothingToTransfer: no weight to begin with fits, or none is left to train.
    """
    RngState.seed(spec.seed)
    meta, train, splits = packed.meta, packed.split("train"), resolve(packed, spec.dataset, spec.seed)
    network, transferred, frozen = _begin(spec, meta, placement, begin_with)
    loss = _loss(spec, meta, np.asarray(train.targets[splits.train_index]))
    still = frozen_norms(network) if spec.freeze_bn_stats else []
    forward = ForwardPass(
        network, preprocess(spec, meta).to(placement.device), loss.to(placement.device), placement, still
    )
    optimizer = make_optimizer(spec.optimizer, network, placement.device)
    averaging = _averaging(spec, network)
    shared = {"leave": leave, "watched": _watched(spec, packed, splits.valid), "loss": loss}
    made = _callbacks(spec, network, averaging, shared)
    mixture = next((item for item in made if isinstance(item, BatchMixing)), None)
    batches = _train_batches(spec, placement, train, splits.train_index, mixture)
    schedule = spec.schedule and make_schedule(spec.schedule, optimizer, spec.epochs, len(batches))
    new_tally = _tallies(spec, meta, placement)
    part_size = spec.batch_size if spec.accumulate_batches > 1 else None
    return Run(
        state=RunState(max_epochs=spec.epochs, steps_per_epoch=len(batches)),
        placement=placement,
        network=network,
        forward=forward,
        optimizer=optimizer,
        scaler=placement.scaler(),
        clip=_first(Clip, made),
        train_batches=batches,
        valid_batches=_view_batches(spec, placement, splits.valid),
        test_batches=None if splits.test is None else _view_batches(spec, placement, splits.test),
        train_tally=new_tally(split="train"),
        valid_tally=new_tally(split="valid"),
        new_accumulator=partial(new_tally, split="valid"),
        callbacks=tuple(item for item in (schedule, *made) if isinstance(item, Callback)),
        guard=NonFiniteGuard(network),
        keep_best=_first(KeepBest, made),
        mix=mixture,
        averaging=averaging,
        part_size=part_size,
        relief=OomBatchSplitter(network, part_size) if spec.on_oom == "accumulate" else None,
        transferred=transferred,
        frozen=tuple(frozen),
    )


def _begin(
    spec: JobSpec, meta: PackedMeta, placement: Placement, begin_with: Weights | None
) -> tuple[nn.Module, LoadReport | None, list[str]]:
    """The network with its first weights, what became of those it was given, and what is frozen of it."""
    network = placement.network(_network(spec, meta))
    if spec.compile:
        compile_in_place(network)
    transferred = None if begin_with is None else transfer(network, begin_with)
    return network, transferred, freeze(network, spec.freeze)


def _tallies(spec: JobSpec, meta: PackedMeta, placement: Placement) -> Callable[..., MetricAccumulator]:
    wanted = (TASK_DEFAULTS[meta.task][1],) if spec.metrics is None else spec.metrics
    check_monitors(spec, wanted)
    return partial(make_accumulator, wanted, meta, placement, scale=target_scale(spec, meta))


def _network(spec: JobSpec, meta: PackedMeta) -> nn.Module:
    wanted = spec.architecture
    network = registry.build(wanted.name, wanted.options, meta.image_shape, meta.num_outputs, cardinalities(meta))
    return to_logits(network) if isinstance(spec.loss, losses.BceSpec) else network


def _loss(spec: JobSpec, meta: PackedMeta, targets: np.ndarray[Any, Any]) -> nn.Module:
    loss, scale = make_loss(spec.loss or TASK_DEFAULTS[meta.task][0], meta, targets), target_scale(spec, meta)
    return loss if scale is None else ScaledTargetLoss(loss, scale)


def normalization(spec: JobSpec, meta: PackedMeta) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation, one a channel: as asked for, else of the weights begun with, else of the split trained on."""
    for asked in spec.dataset.train_transforms:
        if isinstance(asked, transforms.NormalizeSpec):
            if len(asked.mean) != meta.image_shape[0] or len(asked.std) != meta.image_shape[0]:
                raise InvalidSpec(f"normalize needs {meta.image_shape[0]} values, one a channel")
            return asked.mean, asked.std
    if spec.weights == PRETRAINED:
        known, channels = pretrained(spec), meta.image_shape[0]
        return (known.mean,) * channels, (known.deviation,) * channels
    return meta.mean, meta.std


def pretrained(spec: TrainingSpec) -> registry.Pretrained:
    """The weights that the architecture was published with.

    Raises:
        InvalidSpec: it was published without.
    """
    known = registry.get(spec.architecture.name).pretrained
    if known is None:
        raise InvalidSpec(f"{spec.architecture.name!r} has no weights of its own to begin with")
    return known


def preprocess(spec: JobSpec, meta: PackedMeta) -> nn.Module:
    """What every split and every prediction goes through."""
    wanted = spec.architecture
    moments = normalization(spec, meta)
    return bundle.preprocess(wanted.name, wanted.options, meta.image_shape, moments, cardinalities(meta))


def cardinalities(meta: PackedMeta) -> tuple[int, ...]:
    """Of a table's columns; none of pictures."""
    return () if meta.table is None else meta.table.cardinalities


def target_scale(spec: JobSpec, meta: PackedMeta) -> TargetScaler | None:
    """How a table's targets are brought to mean 0, where the loss compares distances and not rates or shares."""
    loss = spec.loss or TASK_DEFAULTS[meta.task][0]
    if meta.task != "regression" or meta.table is None or loss.name not in DISTANCES:
        return None
    return TargetScaler(meta.target_mean, meta.target_std)


def check_monitors(spec: JobSpec, wanted: Sequence[metrics.MetricSpec]) -> None:
    """Refuse a monitor that no epoch will have."""
    known = [
        f"{split}_{key}"
        for split in ("train", "valid")
        for key in ("loss", *(metric.key for metric in wanted if metric.is_curve and metric.is_of(split)))
    ]
    asked = [getattr(part, "monitor", None) for part in (*spec.callbacks, spec.schedule)]
    for monitor in asked:
        if monitor is not None and monitor not in known:
            raise InvalidSpec(f"monitor {monitor!r} is no metric of this job; there are {', '.join(known)}")


def make_accumulator(
    wanted: Sequence[metrics.MetricSpec],
    meta: PackedMeta,
    placement: Placement,
    *,
    split: Literal["train", "valid"] | None = None,
    scale: TargetScaler | None = None,
) -> MetricAccumulator:
    """Sums of the metrics that are wanted on a split of a training; of no training, unless a split is given.

    Tables are made of what validates alone. `scale` is that of the targets which the network is trained on.
    """
    asked = [spec for spec in wanted if split is None or spec.is_of(split)]
    asked = [spec for spec in asked if split != "train" or spec.is_curve]
    made = {spec.key: make_metric(spec, meta).to(placement.device) for spec in asked}
    return MetricAccumulator(made, factory.adapter(meta.task) if scale is None else scale.adapter(placement.device))


def _train_batches(
    spec: JobSpec,
    placement: Placement,
    train: PackedSplit,
    index: np.ndarray[Any, np.dtype[np.int64]],
    mixture: BatchMixing | None,
) -> ArrayDataLoader:
    made = [made for asked in spec.dataset.train_transforms if (made := make_transform(asked)) is not None]
    is_resident = all(map(works_on_device, made)) and fits_on_device(train.images, placement)
    kind = DeviceResidentDataLoader if is_resident else ArrayDataLoader
    if train.weights is not None and not train.weights[index].any():
        raise InvalidSpec("every sample that is left to train on has a weight of 0")
    source = ArraySource(train.images, train.targets, index, train.weights)
    alpha = None if mixture is None else mixture.alpha
    order = SamplerConfig(spec.seed, spec.sampler, spec.drop_last, alpha)
    return kind(source, placement, spec.batch_size * spec.accumulate_batches, order, made)


def _watched(spec: JobSpec, packed: Packed, view: SplitView) -> ValidationSamples:
    meta = packed.meta
    split = "train" if plan(meta.splits, spec.dataset.valid).held_out else "valid"
    return ValidationSamples(meta.task, meta.classes, split, view.index, packed.split(split).names, view.images)


def _callbacks(
    spec: JobSpec, network: nn.Module, averaging: Averaging | None, shared: Mapping[str, Any]
) -> list[object]:
    """All but the average itself; the best weights are those of the average, where there is one each epoch."""
    shown = averaging.network if averaging is not None and averaging.is_ready_each_epoch else network
    return [
        make_callback(asked, shown if isinstance(asked, callbacks.KeepBestSpec) else network, **shared)
        for asked in spec.callbacks
        if not isinstance(asked, AVERAGES)
    ]


def _first(kind: type[T], made: Sequence[object]) -> T | None:
    return next((item for item in made if isinstance(item, kind)), None)


def _averaging(spec: JobSpec, network: nn.Module) -> Averaging | None:
    asked = next((item for item in spec.callbacks if isinstance(item, AVERAGES)), None)
    made = None if asked is None else make_callback(asked, network, epochs=spec.epochs)
    return made if isinstance(made, Averaging) else None


def _view_batches(spec: JobSpec, placement: Placement, view: SplitView) -> ArrayDataLoader:
    source = ArraySource(view.images, view.targets, view.index, view.weights)
    return ArrayDataLoader(source, placement, spec.batch_size)
