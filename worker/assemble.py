"""From words to objects: the only place where a spec becomes a live thing."""

from collections.abc import Sequence
from functools import partial
from typing import Any, assert_never

import numpy as np
import torch
from torch import nn
from torch.optim import lr_scheduler
from torchmetrics import Metric

from core.datasets.packed import Packed, PackedMeta, PackedSplit
from core.datasets.splits import SplitView, resolve
from core.errors import InvalidSpec
from core.spec import JobSpec, callbacks, losses, metrics, optimizers, schedules, transforms
from models import registry
from models.preprocess import Preprocess
from worker.engine import losses as engine_losses
from worker.engine import schedules as engine_schedules
from worker.engine import transforms as engine_transforms
from worker.engine.batches import ArrayBatches, Order, ResidentBatches, Source, fits_on_device
from worker.engine.callback import Callback
from worker.engine.callbacks import (
    BatchSchedule,
    EarlyStopping,
    EpochSchedule,
    KeepBest,
    ModelCheckpoint,
    NonFiniteGuard,
    PlateauSchedule,
    TimeLimit,
)
from worker.engine.device import Placement
from worker.engine.metrics import choose
from worker.engine.metrics.tally import Tally
from worker.engine.optimizers import build as build_optimizer
from worker.engine.run import Run
from worker.engine.snapshot import RandomState
from worker.engine.state import RunState
from worker.engine.steps import Clip, Forward

USUAL: dict[str, tuple[losses.LossSpec, metrics.MetricSpec]] = {
    "classification": (losses.CrossEntropySpec(), metrics.AccuracySpec()),
    "binary": (losses.BceWithLogitsSpec(), metrics.AccuracySpec()),
    "multilabel": (losses.BceWithLogitsSpec(), metrics.AccuracySpec()),
    "regression": (losses.MseSpec(), metrics.MaeSpec()),
}


def assemble(spec: JobSpec, packed: Packed, placement: Placement) -> Run:
    """Build everything a job needs, under its seed.

    Raises:
        InvalidSpec: the parts do not fit each other or the dataset.
    """
    RandomState.seed(spec.seed)
    meta, train, splits = packed.meta, packed.split("train"), resolve(packed, spec.dataset, spec.seed)
    network = placement.network(
        registry.build(spec.architecture.name, spec.architecture.options, meta.image_shape, meta.num_outputs)
    )
    loss = make_loss(spec.loss or USUAL[meta.task][0], meta, np.asarray(train.targets[splits.train_index]))
    forward = Forward(network, preprocess(spec, meta).to(placement.device), loss.to(placement.device), placement)
    optimizer = make_optimizer(spec.optimizer, network, placement.device)
    batches = _train_batches(spec, placement, train, splits.train_index)
    made = [make_callback(asked, network) for asked in spec.callbacks]
    hung = [item for item in made if isinstance(item, Callback)]
    if spec.schedule is not None:
        hung.insert(0, make_schedule(spec.schedule, optimizer, spec.epochs, len(batches)))
    wanted = (USUAL[meta.task][1],) if spec.metrics is None else spec.metrics
    check_monitors(spec, wanted)
    new_tally = partial(_tally, wanted, meta, placement)
    new_tally(curves_only=False)  # what does not fit is refused now, not by the last evaluation
    return Run(
        state=RunState(max_epochs=spec.epochs, steps_per_epoch=len(batches)),
        placement=placement,
        network=network,
        forward=forward,
        optimizer=optimizer,
        scaler=placement.scaler(),
        clip=next((item for item in made if isinstance(item, Clip)), None),
        train_batches=batches,
        valid_batches=_view_batches(spec, placement, splits.valid),
        test_batches=None if splits.test is None else _view_batches(spec, placement, splits.test),
        train_tally=new_tally(curves_only=True),
        valid_tally=new_tally(curves_only=True),
        new_tally=partial(new_tally, curves_only=False),
        callbacks=tuple(hung),
        guard=NonFiniteGuard(network),
        keep_best=next((item for item in made if isinstance(item, KeepBest)), None),
    )


def normalization(spec: JobSpec, meta: PackedMeta) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation, one a channel: those asked for, else those of the training split."""
    for asked in spec.dataset.train_transforms:
        if isinstance(asked, transforms.NormalizeSpec):
            if len(asked.mean) != meta.image_shape[0] or len(asked.std) != meta.image_shape[0]:
                raise InvalidSpec(f"normalize needs {meta.image_shape[0]} values, one a channel")
            return asked.mean, asked.std
    return meta.mean, meta.std


def preprocess(spec: JobSpec, meta: PackedMeta) -> Preprocess:
    """What every split and every prediction goes through."""
    return Preprocess(*normalization(spec, meta))


def check_monitors(spec: JobSpec, wanted: Sequence[metrics.MetricSpec]) -> None:
    """Refuse a monitor that no epoch will have."""
    keys = ["loss", *(metric.key for metric in wanted if not isinstance(metric, metrics.ConfusionMatrixSpec))]
    known = [f"{split}_{key}" for split in ("train", "valid") for key in keys]
    asked = [getattr(part, "monitor", None) for part in (*spec.callbacks, spec.schedule)]
    for monitor in asked:
        if monitor is not None and monitor not in known:
            raise InvalidSpec(f"monitor {monitor!r} is no metric of this job; there are {', '.join(known)}")


def make_loss(spec: losses.LossSpec, meta: PackedMeta, targets: np.ndarray[Any, Any]) -> nn.Module:
    """From (pred, target) to the mean over the batch; `targets` are those that are trained on."""
    match spec:
        case losses.CrossEntropySpec(class_weights=wish, label_smoothing=smoothing):
            return engine_losses.cross_entropy(_class_weights(spec.name, wish, meta, targets), smoothing)
        case losses.NllSpec(class_weights=wish):
            return engine_losses.nll(_class_weights(spec.name, wish, meta, targets))
        case losses.BceWithLogitsSpec(pos_weight=wish):
            _need_numbers(spec.name, meta)
            return nn.BCEWithLogitsLoss(pos_weight=engine_losses.positive_weights(wish, meta.num_outputs))
        case losses.MseSpec():
            _need_numbers(spec.name, meta)
            return nn.MSELoss()
        case losses.L1Spec():
            _need_numbers(spec.name, meta)
            return nn.L1Loss()
        case losses.SmoothL1Spec(beta=beta):
            _need_numbers(spec.name, meta)
            return nn.SmoothL1Loss(beta=beta)
        case _:
            assert_never(spec)


def _class_weights(
    name: str, wish: Sequence[float] | str | None, meta: PackedMeta, targets: np.ndarray[Any, Any]
) -> torch.Tensor | None:
    if meta.task != "classification":
        raise InvalidSpec(f"loss {name!r} needs one class a sample; the dataset's task is {meta.task}")
    return engine_losses.class_weights(wish, targets, meta.num_outputs)


def _need_numbers(name: str, meta: PackedMeta) -> None:
    if meta.task == "classification":
        raise InvalidSpec(f"loss {name!r} needs numbers as targets; the dataset's task is {meta.task}")


def make_optimizer(spec: optimizers.OptimizerSpec, network: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """An optimizer over the network's parameters; the spec's fields are torch's own arguments."""
    build = partial(build_optimizer, network.parameters(), device, spec.model_dump(exclude={"name"}))
    match spec:
        case optimizers.SgdSpec():
            return build(torch.optim.SGD)
        case optimizers.AdamSpec():
            return build(torch.optim.Adam)
        case optimizers.AdamWSpec():
            return build(torch.optim.AdamW)
        case optimizers.RmspropSpec():
            return build(torch.optim.RMSprop)
        case optimizers.AdagradSpec():
            return build(torch.optim.Adagrad)
        case optimizers.AdadeltaSpec():
            return build(torch.optim.Adadelta)
        case _:
            assert_never(spec)


def make_schedule(
    spec: schedules.ScheduleSpec, optimizer: torch.optim.Optimizer, epochs: int, steps_per_epoch: int
) -> Callback:
    """A schedule with its breakpoint; lengths not given are those of the whole run."""
    whole = epochs if spec.call_on == "epoch_end" else epochs * steps_per_epoch
    given = spec.model_dump(exclude={"name", "call_on", "monitor"})
    made: lr_scheduler.LRScheduler
    match spec:
        case schedules.StepSpec():
            made = lr_scheduler.StepLR(optimizer, **given)
        case schedules.MultiStepSpec():
            made = lr_scheduler.MultiStepLR(optimizer, **given)
        case schedules.ExponentialSpec():
            made = lr_scheduler.ExponentialLR(optimizer, **given)
        case schedules.LinearSpec(total_iters=total):
            made = lr_scheduler.LinearLR(optimizer, **given | {"total_iters": total or whole})
        case schedules.PolynomialSpec(total_iters=total):
            made = lr_scheduler.PolynomialLR(optimizer, **given | {"total_iters": total or whole})
        case schedules.CosineSpec(t_max=t_max, eta_min=eta_min):
            made = lr_scheduler.CosineAnnealingLR(optimizer, T_max=t_max or whole, eta_min=eta_min)
        case schedules.CosineWarmRestartsSpec(t_0=t_0, t_mult=t_mult, eta_min=eta_min):
            made = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=t_0, T_mult=t_mult, eta_min=eta_min)
        case schedules.CyclicSpec():
            made = engine_schedules.cyclic(optimizer, **given)
        case schedules.OneCycleSpec():
            made = engine_schedules.one_cycle(optimizer, total_steps=whole, **given)
        case schedules.PlateauSpec(monitor=monitor, mode=mode):
            given["mode"] = choose.direction(monitor) if mode == "auto" else mode
            return PlateauSchedule(lr_scheduler.ReduceLROnPlateau(optimizer, **given), monitor)
        case _:
            assert_never(spec)
    return BatchSchedule(made) if spec.call_on == "train_batch_end" else EpochSchedule(made)


def make_callback(spec: callbacks.CallbackSpec, network: nn.Module) -> Callback | Clip:
    """What watches the run; clipping changes the maths and is therefore part of the step."""
    given = spec.model_dump(exclude={"name"})
    match spec:
        case callbacks.EarlyStoppingSpec():
            return EarlyStopping(**given)
        case callbacks.ModelCheckpointSpec():
            return ModelCheckpoint(**given)
        case callbacks.KeepBestSpec():
            return KeepBest(network, **given)
        case callbacks.TimeLimitSpec():
            return TimeLimit(**given)
        case callbacks.GradientClipSpec():
            return Clip(**given)
        case _:
            assert_never(spec)


def make_metric(spec: metrics.MetricSpec, meta: PackedMeta) -> Metric:
    """A metric for the dataset's task.

    Raises:
        InvalidSpec: it has no meaning for that task.
    """
    classify = partial(choose.classify, task=meta.task, num_outputs=meta.num_outputs)
    try:
        match spec:
            case metrics.AccuracySpec(threshold=threshold):
                return classify("Accuracy", threshold=threshold, average="micro")
            case metrics.TopKSpec(k=k):
                if meta.task != "classification" or k > meta.num_outputs:
                    raise InvalidSpec(f"top_k needs one class a sample and at least {k} classes")
                return classify("Accuracy", top_k=k, average="micro")
            case metrics.PrecisionSpec(threshold=threshold, average=average):
                return classify("Precision", threshold=threshold, average=average)
            case metrics.RecallSpec(threshold=threshold, average=average):
                return classify("Recall", threshold=threshold, average=average)
            case metrics.F1Spec(threshold=threshold, average=average):
                return classify("F1Score", threshold=threshold, average=average)
            case metrics.AurocSpec(average=average, thresholds=thresholds):
                return classify("AUROC", average=average, thresholds=thresholds)
            case metrics.ConfusionMatrixSpec():
                return classify("ConfusionMatrix")
            case metrics.MaeSpec():
                return choose.mean_absolute_error()
            case metrics.MseMetricSpec():
                return choose.mean_squared_error()
            case metrics.RmseSpec():
                return choose.mean_squared_error(root=True)
            case metrics.R2Spec():
                return choose.r2(meta.num_outputs)
            case _:
                assert_never(spec)
    except choose.WrongTask as error:
        raise InvalidSpec(f"metric {spec.name!r} does not fit: {error}") from error


def make_transform(spec: transforms.TransformSpec) -> engine_transforms.Transform | None:
    """What changes training pictures; normalisation does not, it belongs to the network's preprocessing."""
    given = spec.model_dump(exclude={"name"})
    match spec:
        case transforms.HorizontalFlipSpec():
            return engine_transforms.HorizontalFlip(**given)
        case transforms.VerticalFlipSpec():
            return engine_transforms.VerticalFlip(**given)
        case transforms.AffineSpec():
            return engine_transforms.Affine(**given)
        case transforms.RandomCropSpec():
            return engine_transforms.RandomCrop(**given)
        case transforms.NormalizeSpec():
            return None
        case _:
            assert_never(spec)


def _tally(wanted: Sequence[metrics.MetricSpec], meta: PackedMeta, placement: Placement, *, curves_only: bool) -> Tally:
    asked = [spec for spec in wanted if not (curves_only and isinstance(spec, metrics.ConfusionMatrixSpec))]
    return Tally({spec.key: make_metric(spec, meta).to(placement.device) for spec in asked}, choose.adapter(meta.task))


def _train_batches(
    spec: JobSpec, placement: Placement, train: PackedSplit, index: np.ndarray[Any, np.dtype[np.int64]]
) -> ArrayBatches:
    made = [made for asked in spec.dataset.train_transforms if (made := make_transform(asked)) is not None]
    kind = ResidentBatches if not made and fits_on_device(train.images, placement) else ArrayBatches
    source = Source(train.images, train.targets, index)
    return kind(source, placement, spec.batch_size, Order(spec.seed, shuffle=True, drop_last=spec.drop_last), made)


def _view_batches(spec: JobSpec, placement: Placement, view: SplitView) -> ArrayBatches:
    return ArrayBatches(Source(view.images, view.targets, view.index), placement, spec.batch_size)
