"""The data that job specs are validated against, such as the dataset, the model and the live workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.services.validation.architecture_check import ArchitectureCheck
from core.datasets.definition import DatasetInfo
from core.db.repos.placement import WorkerCapacity
from core.db.tables import ModelVersionRow
from core.resizing import STRETCH, ResizePolicy
from core.spec import AnyJobSpec


class PinnedDataset(NamedTuple):
    """The dataset version that a job uses. For a built-in dataset, `options` contains all options; else it is empty."""

    version: int
    options: Mapping[str, Any]
    dataset_info: DatasetInfo


class ResumeSource(NamedTuple):
    """The checkpoint that a job starts from. `spec` is the spec of the job that wrote the checkpoint."""

    number: int
    step: int
    spec: Mapping[str, Any]

    def count_epochs(self, steps_per_epoch: int) -> int:
        """Return the number of epochs that were complete when the checkpoint was written."""
        return self.step // steps_per_epoch


class RegisteredModel(NamedTuple):
    """A model version that a job refers to. `dataset`, `seed`, `valid` and `test` are from its training spec.

    `dataset` is empty if the version was registered without training.
    """

    ref: str
    task: str
    classes: tuple[str, ...]
    num_outputs: int
    image_shape: tuple[int, ...]
    columns: list[dict[str, Any]]
    num_parameters: int
    dataset: str
    seed: int
    valid: float | None
    test: float | None
    resize: ResizePolicy = STRETCH

    @classmethod
    def from_row(cls, row: ModelVersionRow) -> "RegisteredModel":
        """Create an instance from the database row of a model version, with its bundle metadata and training spec."""
        bundle, spec = row.bundle, row.spec
        dataset = spec.get("dataset") or {}
        return cls(
            ref=f"{row.name}@{row.version}",
            task=bundle["task"],
            classes=tuple(bundle["classes"]),
            num_outputs=bundle["num_outputs"],
            image_shape=tuple(bundle["image_shape"]),
            columns=(bundle.get("table") or {}).get("columns", []),
            num_parameters=row.num_parameters,
            dataset=dataset.get("name", ""),
            seed=spec.get("seed", 0),
            valid=dataset.get("valid"),
            test=dataset.get("test"),
            resize=ResizePolicy.from_dict(bundle),
        )

    @property
    def reads_images(self) -> bool:
        """Whether the inputs of the model are images. Otherwise they are rows or windows of a table."""
        return len(self.image_shape) == 3


class ResolvedSpec(NamedTuple):
    """A spec with all defaults filled in, the size of the network, and the number of steps per epoch."""

    spec: AnyJobSpec
    num_parameters: int
    output_shape: tuple[int, ...]
    steps_per_epoch: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ValidationContext:
    """The job spec of a request, and the data that the spec is validated against.

    Attributes:
        dataset: the dataset; None while it is imported, or if it does not exist. Then only rules that do not depend on
            the dataset are applied.
        devices: names and kinds of the devices of live workers, for example `cpu`, `cuda`, `cuda:0` or `mps`.
        architecture: the checked architecture of a training or registration; None for specs that refer to a model.
        model: the registered model that the spec refers to, if any.
        resume_source: the checkpoint that the spec refers to, if any.
        capacities: the capacity of each live worker; empty if no worker is live.
        errors: pairs of a JSON pointer and a reason, for references of the spec that do not exist.
    """

    spec: AnyJobSpec
    dataset: PinnedDataset | None
    devices: frozenset[str]
    architecture: ArchitectureCheck | None = None
    model: RegisteredModel | None = None
    resume_source: ResumeSource | None = None
    capacities: Sequence[WorkerCapacity] = ()
    errors: Sequence[tuple[str, str]] = ()

    @property
    def pinned_dataset(self) -> PinnedDataset:
        """The dataset. Rules that depend on the dataset are applied only if there is one."""
        assert self.dataset is not None  # noqa: S101 - guaranteed by `RuleSet.check_spec`
        return self.dataset
