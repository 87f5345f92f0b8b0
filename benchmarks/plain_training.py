"""Trains the recipe of a job spec as a plain torch loop and under Lightning, for `time_to_accuracy.py`.

Both use the network, the optimizer, the averaging and the preprocessing of the engine, but load images one by one with
a DataLoader, as in a tutorial. `check_recipe` refuses a recipe that has more than they implement.
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from core.datasets.packed import PackedDataset
from core.datasets.splits import SplitView, resolve_splits
from core.spec import JobSpec, callbacks, losses, optimizers, schedules, transforms
from worker.builders import build_run, make_optimizer
from worker.engine.device import Placement
from worker.engine.run import Run
from worker.engine.schedules import build_one_cycle
from worker.engine.state import RunState
from worker.engine.transforms import Affine

Report = Callable[[int, float], None]

FIELDS = frozenset(
    "name model dataset architecture loss optimizer schedule metrics epochs batch_size seed device precision "
    "threads callbacks".split()
)
"""The fields of a spec that the plain loop follows, as far as `check_recipe` accepts their values."""
OTHER_FIELDS = frozenset({"spec_version", "kind", "cache_features", "should_register"})
"""The fields that do not change how a network without frozen layers is trained."""


class Job(NamedTuple):
    """A recipe and its data."""

    spec: JobSpec
    packed: PackedDataset
    placement: Placement

    def build_run(self) -> Run:
        return build_run(self.spec, self.packed, self.placement)


def check_recipe(spec: JobSpec) -> None:
    """Refuse a recipe with parts that the plain loop and Lightning would not train.

    Raises:
        SystemExit: there are such parts. The message names all of them.
    """
    if parts := sorted(set(_find_unsupported(spec))):
        raise SystemExit(f"the plain loop and Lightning do not implement {', '.join(parts)} of this recipe")


def _find_unsupported(spec: JobSpec) -> Iterator[str]:
    for name, field in type(spec).model_fields.items():
        if name not in FIELDS | OTHER_FIELDS and getattr(spec, name) != field.get_default(call_default_factory=True):
            yield name
    match spec.loss:
        case None | losses.CrossEntropySpec(class_weights=None):
            pass
        case loss:
            yield f"loss {loss.name}" + (" with class_weights" if isinstance(loss, losses.CrossEntropySpec) else "")
    if isinstance(spec.optimizer, optimizers.LbfgsSpec):
        yield "optimizer lbfgs"
    if not isinstance(spec.schedule, schedules.OneCycleSpec):
        yield f"schedule {'null' if spec.schedule is None else spec.schedule.name} (only one_cycle)"
    for callback in spec.callbacks:
        if not isinstance(callback, callbacks.FreezeSpec | callbacks.EmaSpec | callbacks.LookaheadSpec):
            yield f"callback {callback.name}"
    for transform in spec.dataset.train_transforms:
        match transform:
            case transforms.HorizontalFlipSpec(p=0.5) | transforms.AlternatingFlipSpec() | transforms.AffineSpec():
                pass
            case transforms.RandomCropSpec(mode="reflect"):
                pass
            case _:
                yield f"transform {transform.name} with these options"


class Images(Dataset[tuple[Tensor, int]]):
    """Augmented training images, one at a time, as normalized float tensors."""

    def __init__(self, job: Job, run: Run) -> None:
        split, index = job.packed.read_split("train"), run.train_batches.sample_index
        self._images, self._targets = np.array(split.images[index]), np.array(split.targets[index])
        self._preprocess = run.forward.preprocess
        self._flips, self._padding, self._affine = False, 0, list[Affine]()
        for transform in job.spec.dataset.train_transforms:
            match transform:
                case transforms.HorizontalFlipSpec(p=0.5) | transforms.AlternatingFlipSpec():
                    self._flips = True
                case transforms.RandomCropSpec(padding=padding):
                    self._padding = padding
                case transforms.AffineSpec():
                    self._affine.append(Affine(**transform.model_dump(exclude={"name"})))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        pixels = self._images[i : i + 1]
        for affine in self._affine:
            pixels = affine(pixels, torch.rand(1, affine.num_random_params).numpy())
        image = self._preprocess(torch.from_numpy(pixels))
        if self._flips and torch.rand(()) < 0.5:
            image = image.flip(3)
        if self._padding:
            height, width = image.shape[2:]
            padded = functional.pad(image, (self._padding,) * 4, mode="reflect")
            top, left = torch.randint(2 * self._padding + 1, (2,)).tolist()
            image = padded[:, :, top : top + height, left : left + width]
        return image[0], int(self._targets[i])


class Recipe:
    """The parts of a recipe that a plain loop and Lightning share, built like those of the engine."""

    def __init__(self, job: Job) -> None:
        check_recipe(job.spec)
        self.job, self.run = job, job.build_run()
        self.spec, self.network = job.spec, self.run.network
        self.optimizer = make_optimizer(job.spec.optimizer, self.network, job.placement.device)
        torch.manual_seed(job.spec.seed)
        self.batches = DataLoader(Images(job, self.run), job.spec.batch_size, shuffle=True, drop_last=True)
        self.scheduler = self._build_scheduler()
        smoothing = job.spec.loss.label_smoothing if isinstance(job.spec.loss, losses.CrossEntropySpec) else 0.0
        self.loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
        self.state = RunState(max_epochs=job.spec.epochs, steps_per_epoch=len(self.batches))

    def _build_scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        assert isinstance(self.spec.schedule, schedules.OneCycleSpec)  # checked by check_recipe
        options = self.spec.schedule.model_dump(exclude={"name", "call_on"})
        return build_one_cycle(self.optimizer, total_steps=self.spec.epochs * len(self.batches), **options)

    def start_epoch(self, epoch: int) -> None:
        self.state.epoch, self.state.batch = epoch, 0
        for callback in self.spec.callbacks:
            if isinstance(callback, callbacks.FreezeSpec):
                is_frozen = callback.from_epoch <= epoch <= (callback.until_epoch or math.inf)
                for name, parameter in self.network.named_parameters():
                    if fnmatchcase(name, callback.match):
                        parameter.requires_grad_(not is_frozen)
                        parameter.grad = None

    def finish_step(self) -> None:
        self.scheduler.step()
        if self.run.averaging is not None:
            self.run.averaging.update_parameters(self.state)
        self.state.step += 1
        self.state.batch += 1

    @torch.no_grad()
    def measure_accuracy(self) -> float:
        view = _get_valid(self.job)
        network = self.network if self.run.averaging is None else self.run.averaging.network
        forward, num_right = self.run.forward.copy_with_network(network.eval()), 0
        for index in np.array_split(view.index, -(-len(view.index) // self.spec.batch_size)):
            scores = forward.predict(torch.from_numpy(view.images[index]))
            num_right += int((scores.argmax(1).numpy() == view.targets[index]).sum())
        self.network.train()
        return num_right / len(view.index)


def _get_valid(job: Job) -> SplitView:
    view = resolve_splits(job.packed, job.spec.dataset, job.spec.seed).valid
    if view is None:
        raise SystemExit("the recipe has no validation samples")
    return view


def train_plain(job: Job, report: Report) -> None:
    recipe = Recipe(job)
    network, optimizer, autocast = recipe.network.train(), recipe.optimizer, job.placement.autocast()
    for epoch in range(1, job.spec.epochs + 1):
        recipe.start_epoch(epoch)
        for images, targets in recipe.batches:
            with autocast:
                scores = network(images.contiguous(memory_format=torch.channels_last))
            loss = recipe.loss(scores.float(), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recipe.finish_step()
        report(epoch, recipe.measure_accuracy())


def train_lightning(job: Job, report: Report) -> None:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.recipe = Recipe(job)
            self.network = self.recipe.network

        def on_train_epoch_start(self) -> None:
            self.recipe.start_epoch(self.current_epoch + 1)

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            images, targets = batch
            scores = self.network(images.contiguous(memory_format=torch.channels_last))
            return self.recipe.loss(scores.float(), targets)

        def on_train_batch_end(self, *_: object) -> None:
            self.recipe.finish_step()

        def on_train_epoch_end(self) -> None:
            report(self.current_epoch + 1, self.recipe.measure_accuracy())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return self.recipe.optimizer

    logging.getLogger("lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    module = Module()
    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    precision = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}[job.placement.precision]
    trainer = lightning.Trainer(max_epochs=job.spec.epochs, accelerator="cpu", precision=precision, **off)
    trainer.fit(module, module.recipe.batches)
