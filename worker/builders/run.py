"""Builds a run from a job spec: its network, loss, optimizer, data loaders, metrics and callbacks."""

from functools import partial

import numpy as np
import torch
from torch import nn

from core.datasets.packed import PackedDataset, PackedMeta
from core.datasets.splits import SplitView, plan_splits, resolve_splits
from core.spec import JobSpec
from models.network_split import find_frozen_norms
from worker.builders.components import build_components
from worker.builders.dataloaders import build_eval_loader, build_train_loader
from worker.builders.losses import build_job_loss
from worker.builders.metrics import build_accumulator_factory
from worker.builders.networks import build_initial_network
from worker.builders.optimizers import make_optimizer
from worker.builders.preprocessing import build_preprocessing, iter_sample_inputs
from worker.builders.schedules import make_schedule
from worker.engine.callback import Callback, SaveArtifact, noop
from worker.engine.callbacks import NonFiniteGuard, ValidationSamples
from worker.engine.dataloader import ArrayDataLoader
from worker.engine.device import Placement
from worker.engine.forward_pass import ForwardPass
from worker.engine.oom_recovery import OomBatchSplitter
from worker.engine.run import Run
from worker.engine.snapshot import RngState
from worker.engine.state import RunState
from worker.engine.transfer import Weights


def build_run(
    spec: JobSpec,
    packed: PackedDataset,
    placement: Placement,
    initial_weights: Weights | None = None,
    save_artifact: SaveArtifact = noop,
    schedule_epochs: int | None = None,
) -> Run:
    """Seed the random number generators and build a run. Callbacks store their files with `save_artifact`.

    Raises:
        InvalidSpec: parts of the spec are not compatible with each other or with the dataset.
        NoMatchingWeights: no initial weight matches a parameter.
    """
    RngState.seed(spec.seed)
    meta, train, splits = packed.meta, packed.read_split("train"), resolve_splits(packed, spec.dataset, spec.seed)
    inputs = partial(iter_sample_inputs, build_preprocessing(spec, meta), train.images, splits.train_index)
    network, load_report, frozen_parameters = build_initial_network(spec, meta, placement, initial_weights, inputs)
    loss = build_job_loss(spec, meta, np.asarray(train.targets[splits.train_index]))
    forward = _build_forward_pass(spec, meta, placement, network, loss)
    optimizer = make_optimizer(spec.optimizer, network, placement.device)
    samples = _build_validation_samples(spec, packed, splits.valid)
    components = build_components(spec, network, loss, samples, save_artifact)
    batches = build_train_loader(spec, placement, train, splits.train_index, components.mixing)
    schedule = _build_schedule(spec, optimizer, schedule_epochs, len(batches))
    new_accumulator = build_accumulator_factory(spec, meta, placement)
    return Run(
        state=RunState(max_epochs=spec.epochs, steps_per_epoch=len(batches)),
        placement=placement,
        network=network,
        forward=forward,
        optimizer=optimizer,
        scaler=placement.build_grad_scaler(),
        clipping=components.clipping,
        train_batches=batches,
        valid_batches=_build_eval_loader(spec, placement, splits.valid),
        test_batches=_build_eval_loader(spec, placement, splits.test),
        train_accumulator=new_accumulator(split="train"),
        valid_accumulator=new_accumulator(split="valid"),
        new_accumulator=partial(new_accumulator, split="valid"),
        callbacks=(*schedule, *components.callbacks),
        guard=NonFiniteGuard(network),
        keep_best=components.keep_best,
        mixing=components.mixing,
        averaging=components.averaging,
        micro_batch_size=_get_micro_batch_size(spec),
        oom_splitter=OomBatchSplitter(network, _get_micro_batch_size(spec)) if spec.on_oom == "accumulate" else None,
        load_report=load_report,
        frozen_parameters=frozen_parameters,
    )


def _get_micro_batch_size(spec: JobSpec) -> int | None:
    return spec.batch_size if spec.accumulate_batches > 1 else None


def _build_schedule(
    spec: JobSpec, optimizer: torch.optim.Optimizer, epochs: int | None, steps_per_epoch: int
) -> tuple[Callback, ...]:
    """Build the schedule, if the spec has one. It is planned for `epochs` epochs. Default: all epochs of the run."""
    epochs = epochs or spec.epochs
    return () if spec.schedule is None else (make_schedule(spec.schedule, optimizer, epochs, steps_per_epoch),)


def _build_forward_pass(
    spec: JobSpec, meta: PackedMeta, placement: Placement, network: nn.Module, loss: nn.Module
) -> ForwardPass:
    preprocess = build_preprocessing(spec, meta).to(placement.device)
    frozen_norms = find_frozen_norms(network) if spec.freeze_bn_stats else []
    return ForwardPass(network, preprocess, loss.to(placement.device), placement, frozen_norms)


def _build_eval_loader(spec: JobSpec, placement: Placement, view: SplitView | None) -> ArrayDataLoader | None:
    return None if view is None else build_eval_loader(spec.batch_size, placement, view)


def _build_validation_samples(spec: JobSpec, packed: PackedDataset, view: SplitView | None) -> ValidationSamples:
    meta = packed.meta
    if view is None:
        return ValidationSamples(meta.task, meta.classes)
    split = "train" if plan_splits(meta.splits, spec.dataset.valid).is_valid_from_train else "valid"
    return ValidationSamples(meta.task, meta.classes, split, view.index, packed.read_split(split).names, view.images)
