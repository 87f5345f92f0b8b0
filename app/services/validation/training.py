"""The data for the rules of training jobs: the spec with defaults, and values derived from spec and dataset."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from app.services.validation.architecture_check import ArchitectureCheck
from app.services.validation.context import PinnedDataset, ResolvedSpec, ValidationContext
from app.services.validation.defaults import TASK_DEFAULTS, generate_name
from core.datasets import splits
from core.datasets.definition import DatasetInfo
from core.spec import DatasetSpec, JobSpec, LrFindSpec, TrainingSpec
from core.spec.base import Spec
from core.spec.job import ResourcesSpec

SpecPart = TypeVar("SpecPart", bound=Spec)


@dataclass(frozen=True)
class TrainingContext:
    """The data for the rules of a training job. `spec` has all defaults except for the architecture's options."""

    job: ValidationContext
    spec: JobSpec

    @classmethod
    def prepare(cls, job: ValidationContext) -> "TrainingContext":
        """Create the context of a training job from a spec with all defaults."""
        assert isinstance(job.spec, JobSpec)  # noqa: S101 - guaranteed by the table in `rules`
        return cls(job, fill_defaults(job.spec, job.dataset))

    @property
    def dataset_info(self) -> DatasetInfo:
        """The properties of the dataset."""
        return self.job.pinned_dataset.dataset_info

    @cached_property
    def num_train(self) -> int | None:
        """The number of training samples; None if the dataset is unknown or cannot be split as requested."""
        if self.job.dataset is None:
            return None
        try:
            return splits.plan_splits(
                self.dataset_info.splits, self.spec.dataset.valid, self.spec.dataset.test
            ).num_train
        except ValueError:
            return None

    @property
    def effective_batch_size(self) -> int:
        """The number of samples per optimizer step."""
        return self.spec.batch_size * self.spec.accumulate_batches

    @cached_property
    def min_forward_size(self) -> int | None:
        """The number of samples in the smallest forward pass of a training epoch; None if it is unknown.

        A last batch of one sample is merged into the batch before it. Each process gets an equal part of a batch, and
        accumulated batches are divided into parts of about equal size.
        """
        if not self.num_train or not self.num_batches:
            return None
        spec, whole = self.spec, self.effective_batch_size
        num_whole, rest = divmod(self.num_train, whole)
        sizes = {whole} if num_whole else set[int]()
        if rest and not (spec.drop_last and num_whole):
            sizes.add(whole + 1 if rest == 1 and num_whole else rest)
        if num_whole == 1 and whole + 1 in sizes:
            sizes.remove(whole)
        num_processes = spec.resources.devices
        local_sizes = [max(size // num_processes, 1) for size in sizes]
        if spec.accumulate_batches == 1:
            return min(local_sizes)
        part = max(spec.batch_size // num_processes, 1)
        return min(size // -(-size // part) for size in local_sizes)

    @property
    def num_remaining(self) -> int:
        """The number of samples in the last batch if it is incomplete, else 0."""
        return (self.num_train or 0) % self.effective_batch_size

    @property
    def num_batches(self) -> int:
        """The number of optimizer steps per epoch; 0 if no batch can be filled."""
        num_full, num_remaining = divmod(self.num_train or 0, self.effective_batch_size)
        return num_full if self.spec.drop_last or not num_remaining else num_full + 1

    @property
    def steps_per_epoch(self) -> int:
        """The number of optimizer steps per epoch, at least 1."""
        return max(self.num_batches, 1)

    @property
    def architecture(self) -> ArchitectureCheck:
        """The checked architecture."""
        assert self.job.architecture is not None  # noqa: S101 - checked for all training specs
        return self.job.architecture

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The names of the network's parameters; empty if the network cannot be built."""
        return self.architecture.summary.parameter_names

    def resolve(self, warnings: tuple[str, ...]) -> ResolvedSpec:
        """Return the resolved spec. Aliases and tags in its model and checkpoint references are replaced by numbers."""
        spec, source, model = self.spec, self.job.resume_source, self.job.model
        changes = {
            "architecture": self.architecture.spec,
            "resume_from": spec.resume_from
            and source
            and spec.resume_from.model_copy(update={"checkpoint": source.number}),
            "init_from": spec.init_from if model is None else model.ref,
        }
        summary = self.architecture.summary
        return ResolvedSpec(
            spec.model_copy(update=changes),
            summary.num_parameters,
            summary.output_shape,
            self.steps_per_epoch,
            warnings,
        )


@dataclass(frozen=True)
class LrFindContext(TrainingContext):
    """The data for the rules of a learning rate search. `spec` is a training spec with the fields of the search."""

    lr_find: LrFindSpec

    @classmethod
    def prepare(cls, job: ValidationContext) -> "LrFindContext":
        """Create the context of a learning rate search, which always runs in one process."""
        assert isinstance(job.spec, LrFindSpec)  # noqa: S101 - guaranteed by the table in `rules`
        shared = job.spec.get_shared_arguments() | {"resources": ResourcesSpec()}
        return cls(job, fill_defaults(JobSpec(**shared), job.dataset), job.spec)

    def resolve(self, warnings: tuple[str, ...]) -> ResolvedSpec:
        """Return the spec of the search with the resolved training fields."""
        resolved = super().resolve(warnings)
        changes = {name: getattr(resolved.spec, name) for name in TrainingSpec.model_fields if name != "kind"}
        return resolved._replace(spec=self.lr_find.model_copy(update=changes))


def fill_defaults(spec: JobSpec, dataset: PinnedDataset | None) -> JobSpec:
    """Return the spec with a name, a dataset version, and the default loss and metrics of the dataset's task.

    Without validation samples, callbacks and the schedule monitor the training loss by default.
    """
    if dataset is None:
        return monitor_training_loss(spec) if spec.dataset.valid == 0 else spec
    name = spec.name or generate_name(spec)
    properties = dataset.dataset_info
    share = splits.get_default_share(properties.splits, has_windows=properties.has_windows)
    pinned = DatasetSpec(
        name=spec.dataset.name,
        version=dataset.version,
        valid=share if spec.dataset.valid is None else spec.dataset.valid,
        test=spec.dataset.test,
        stratify=spec.dataset.stratify,
        train_transforms=spec.dataset.train_transforms,
        **dataset.options,
    )
    defaults = TASK_DEFAULTS[properties.task]
    resolved = monitor_training_loss(spec) if pinned.valid == 0 else spec
    return resolved.model_copy(
        update={
            "name": name,
            "model": spec.model or name,
            "dataset": pinned,
            "loss": spec.loss or defaults.loss,
            "metrics": defaults.metrics if spec.metrics is None else spec.metrics,
        }
    )


def monitor_training_loss(spec: JobSpec) -> JobSpec:
    """Return the spec with `train_loss` as the metric of each callback or schedule that does not set `monitor`."""
    return spec.model_copy(
        update={
            "callbacks": tuple(replace_default_monitor(callback) for callback in spec.callbacks),
            "schedule": None if spec.schedule is None else replace_default_monitor(spec.schedule),
        }
    )


def replace_default_monitor(part: SpecPart) -> SpecPart:
    """Return the callback or schedule with the monitor `train_loss` if it has a monitor that was not set."""
    has_default = "monitor" in type(part).model_fields and "monitor" not in part.model_fields_set
    return part.model_copy(update={"monitor": "train_loss"}) if has_default else part
