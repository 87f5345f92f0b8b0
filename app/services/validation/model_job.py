"""Validates jobs that apply a registered model to a dataset: evaluation, prediction and variants."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.services.validation.context import RegisteredModel, ResolvedSpec, ValidationContext
from app.services.validation.defaults import TASK_DEFAULTS, generate_name
from app.services.validation.report import ValidationReport
from core.datasets import splits
from core.datasets.definition import DatasetInfo
from core.spec import DatasetSpec, ModelJobSpec
from core.spec.job_kinds import Views, find_views_error

VIEWS = "/test_time_augmentation"


@dataclass(frozen=True)
class ModelJobContext:
    """The data for the rules of a job that applies a registered model. `spec` is the spec of the request."""

    job: ValidationContext
    spec: ModelJobSpec
    model: RegisteredModel

    @classmethod
    def prepare(cls, job: ValidationContext) -> "ModelJobContext":
        """Create the context of a job. Jobs of this kind always refer to a registered model."""
        assert isinstance(job.spec, ModelJobSpec)  # noqa: S101 - guaranteed by the table in `rules`
        assert job.model is not None  # noqa: S101 - the field `model` is required
        return cls(job, job.spec, job.model)

    @property
    def dataset_info(self) -> DatasetInfo:
        """The properties of the dataset."""
        return self.job.pinned_dataset.dataset_info

    @property
    def is_own_dataset(self) -> bool:
        """Whether the model was trained on any version of the job's dataset."""
        return self.model.dataset == self.spec.dataset.name

    @property
    def valid(self) -> float | None:
        """The share of the training split that is used as the validation split."""
        default = splits.get_default_share(self.dataset_info.splits, has_windows=self.dataset_info.has_windows)
        if self.spec.dataset.valid is not None:
            return self.spec.dataset.valid
        if not self.is_own_dataset or self.model.valid is None:
            return default
        # A model that was trained without validation samples can be evaluated on the dataset's own validation split.
        return default if self.model.valid == 0 and default is None else self.model.valid

    @property
    def test(self) -> float | None:
        """The share of the training split that is used as the test split."""
        return self.model.test if self.spec.dataset.test is None and self.is_own_dataset else self.spec.dataset.test

    @cached_property
    def split_sizes(self) -> dict[str, int] | str:
        """The number of samples of each split. If the dataset cannot be split, an error message."""
        try:
            plan = splits.plan_splits(self.dataset_info.splits, self.valid, self.test)
        except ValueError as error:
            return str(error)
        return {"train": plan.num_train, "valid": plan.num_valid, "test": plan.num_test}

    def resolve(self, warnings: tuple[str, ...]) -> ResolvedSpec:
        """Return the resolved spec. If the model was trained on the dataset, its seed and shares are the defaults."""
        sizes, default_seed = self.split_sizes, self.model.seed if self.is_own_dataset else 0
        changes: dict[str, Any] = {
            "seed": default_seed if self.spec.seed is None else self.spec.seed,
            "dataset": DatasetSpec(
                name=self.spec.dataset.name,
                version=self.job.pinned_dataset.version,
                valid=self.valid,
                test=self.test,
                stratify=self.spec.dataset.stratify,
                **self.job.pinned_dataset.options,
            ),
        }
        num_samples = 1 if isinstance(sizes, str) else sizes[self.spec.split]
        return self._copy_spec(changes, -(-num_samples // self.spec.batch_size), warnings)

    def _copy_spec(self, changes: dict[str, Any], num_batches: int, warnings: tuple[str, ...]) -> ResolvedSpec:
        spec, model = self.spec, self.model
        changes |= {"name": spec.name or generate_name(self.job.spec), "model": model.ref}
        if hasattr(spec, "top_k"):
            changes["top_k"] = max(1, min(spec.top_k, len(model.classes)))
        if getattr(spec, "metrics", ()) is None:
            changes["metrics"] = TASK_DEFAULTS[self.dataset_info.task].metrics
        resolved: Any = spec.model_copy(update=changes)
        return ResolvedSpec(resolved, model.num_parameters, (model.num_outputs,), num_batches, warnings)


@dataclass(frozen=True)
class ArchiveContext(ModelJobContext):
    """The data for the rules of a batch prediction. The job predicts the images of an archive, not of a dataset."""

    def resolve(self, warnings: tuple[str, ...]) -> ResolvedSpec:
        """Return the resolved spec with the dataset version. The split shares keep the values of the request."""
        dataset = self.job.spec.dataset  # None if the model was registered without training
        if dataset is not None:
            dataset = dataset.model_copy(update={"version": self.job.pinned_dataset.version})
        return self._copy_spec({"seed": self.spec.seed or 0, "dataset": dataset}, 1, warnings)


def check_split(context: ModelJobContext, report: ValidationReport) -> None:
    """Check that the dataset has the requested split."""
    sizes, split = context.split_sizes, context.spec.split
    if isinstance(sizes, str):
        report.add("/dataset/valid" if context.test is None else "/dataset/test", sizes)
    elif not sizes[split]:
        available = " or ".join(repr(name) for name, size in sizes.items() if size)
        report.add("/split", f"the dataset has no {split!r} split; use {available}")


def check_no_transforms(context: ModelJobContext, report: ValidationReport) -> None:
    """Check that the spec contains no training transforms."""
    if context.spec.dataset.train_transforms:
        report.add("/dataset/train_transforms", f"must be empty: a job of kind {context.spec.kind!r} does not train")


def check_samples(context: ModelJobContext, report: ValidationReport) -> None:
    """Check that the samples of the dataset have the shape and the columns that the model requires."""
    dataset_info, model = context.dataset_info, context.model
    columns = (
        [] if dataset_info.table is None else [column.model_dump(mode="json") for column in dataset_info.table.columns]
    )
    if dataset_info.image_shape != model.image_shape:
        report.add("/dataset", f"has samples of shape {dataset_info.image_shape}; the model takes {model.image_shape}")
    elif columns != model.columns:
        report.add("/dataset", "has other columns or categories than the model was trained on")


def check_targets(context: ModelJobContext, report: ValidationReport) -> None:
    """Check that the dataset has the same task and classes as the model."""
    dataset_info, model = context.dataset_info, context.model
    if dataset_info.task != model.task:
        report.add("/dataset", f"has the task {dataset_info.task}; the model has the task {model.task}")
    elif dataset_info.classes != model.classes or dataset_info.num_outputs != model.num_outputs:
        report.add("/dataset", "has other classes than the model, or has them in another order")


def check_image_model(context: ModelJobContext, report: ValidationReport) -> None:
    """Check that the inputs of the model are images."""
    if not context.model.reads_images:
        report.add("/model", f"reads rows or windows; a job of kind {context.spec.kind!r} requires a model of images")


def check_views(context: ModelJobContext, report: ValidationReport) -> None:
    """Check that test-time augmentation can be applied to the inputs of the model."""
    model = context.model
    views: Views = getattr(context.spec, "test_time_augmentation", "none")
    if reason := find_views_error(views, model.image_shape if model.reads_images else None):
        report.add(VIEWS, reason)
