"""Defines the spec of a training job: the body of `POST /v1/jobs`."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from core.spec.base import Count, EntryName, Name, Positive, Share, ShareOrZero, Spec, SpecVersion
from core.spec.callbacks import CallbackSpec
from core.spec.losses import LossSpec
from core.spec.metrics import MetricSpec
from core.spec.milestones import MilestonesSpec
from core.spec.optimizers import AdamSpec, OptimizerSpec
from core.spec.schedules import ScheduleSpec
from core.spec.transforms import TransformSpec

Transforms = Annotated[tuple[TransformSpec, ...], Field(strict=False, max_length=32)]
Metrics = Annotated[tuple[MetricSpec, ...], Field(strict=False, max_length=32)]
Device = Annotated[
    str,
    Field(
        pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$",
        description="`cpu`, `mps`, `cuda` or `cuda:<index>`; `auto` selects the best device of the worker.",
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    Field(
        description="The numeric precision of the training. `auto`: bf16 if the device accelerates it, otherwise fp32. "
        "Before a training on such a CPU, both are measured, and bf16 is used if it is clearly faster; "
        "`runtime.precision` reports the choice."
    ),
]
Callbacks = Annotated[tuple[CallbackSpec, ...], Field(strict=False, max_length=32)]


MODEL_REF = r"^[a-z0-9][a-z0-9._-]{0,62}(@[a-z0-9][a-z0-9._-]{0,62})?$"
ModelRef = Annotated[
    str,
    Field(
        pattern=MODEL_REF,
        description="A registered model: `name`, `name@3` or `name@alias`.",
        examples=["digits@latest"],
    ),
]
PRETRAINED = "pretrained"
WEIGHTS = rf"^(file:[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}\.safetensors|{PRETRAINED})$"
PYTORCH_FILE = re.compile(r"(?:file:)?(.+)\.pth?")


def _refuse_pytorch_file(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    match = PYTORCH_FILE.fullmatch(value) if isinstance(value, str) else None
    if match:
        raise ValueError(
            f"must be a safetensors file; {value!r} is a PyTorch file. Convert it with "
            f"`candela weights convert FILE --architecture NAME`, then use 'file:{match[1]}.safetensors'"
        )
    return value


# A single pattern instead of a union, because pydantic reports one error per union member.
Weights = Annotated[
    str,
    Field(pattern=WEIGHTS, examples=["file:resnet18.safetensors", PRETRAINED]),
    BeforeValidator(_refuse_pytorch_file),
]
FREEZE_DESCRIPTION = (
    "A pattern for parameter names: `*` matches any text, `?` matches one character. A leading `!` excludes matching "
    "names from the preceding patterns."
)
FreezePattern = Annotated[str, Field(min_length=1, max_length=200, description=FREEZE_DESCRIPTION)]


MAX_OPTIONS = 100


class NamedOptions(Spec):
    """The name and the options of a catalog entry. The catalog entry validates the options."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"maxProperties": MAX_OPTIONS})
    name: EntryName = Field(examples=["digits"])

    @property
    def options(self) -> dict[str, Any]:
        """The options of the catalog entry: all fields that this class does not declare."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _check_num_options(cls, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, dict) and len(value) > MAX_OPTIONS:
            raise ValueError(f"must have at most {MAX_OPTIONS} fields; got {len(value)}")
        return value


class DatasetSpec(NamedOptions):
    """A dataset, its splits, and the augmentation of its training images.

    A built-in dataset can have more options: see `GET /v1/catalog`.
    """

    version: Count | Literal["latest"] = Field(
        default="latest", description="A version number, or `latest` for the newest version."
    )
    valid: ShareOrZero | None = Field(
        default=None,
        description="The fraction of the training split that is held out for validation. 0: train without validation "
        "samples. Default: the dataset's own validation split, or 0.1 if the dataset has none. Samples of one group, "
        "and equal and near-equal images, stay together.",
    )
    test: Share | None = Field(
        default=None,
        description="The fraction of the training split that is held out for the final test, if the dataset has no "
        "test split. For example, `valid` 0.2 and `test` 0.2 leave 0.6 for training.",
    )
    stratify: bool = Field(default=True, description="Whether to hold out the same fraction of each class.")
    train_transforms: Transforms = Field(
        default=(), description="The transforms that augment the training images, in order."
    )


class ArchitectureSpec(NamedOptions):
    """An architecture with its options: see `GET /v1/catalog`."""


class ResourcesSpec(Spec):
    """The resources that a training uses on a worker."""

    devices: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="The number of processes for data-parallel training. Each process uses its own device (a GPU, or a "
        "part of the CPU cores), computes an equal part of each batch and takes one slot of the worker.",
    )


class ResumeFromSpec(Spec):
    """Start from a checkpoint of another job. By default only the weights are restored.

    Source: luz_callback_resume_from_checkpoint, which has the same four flags.
    """

    job: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="The id of a training job.", examples=["0" * 32])]
    checkpoint: Count | Literal["latest", "best"] = Field(
        default="latest",
        description="A checkpoint number, or the newest or best checkpoint at the time the job is created.",
    )
    model: bool = Field(
        default=True,
        description="Restore the weights. Weights that do not match the network are initialized and listed in "
        "`runtime`.",
    )
    optimizer: bool = Field(
        default=False,
        description="Restore the state of the optimizer, such as moments. Learning rate and weight decay are those "
        "of this job.",
    )
    callbacks: bool = Field(
        default=False,
        description="Restore the states of the schedule and of callbacks that both jobs have under the same names.",
    )
    records: bool = Field(
        default=False,
        description="Copy the metric curves up to the checkpoint, and count the epochs completed before it as epochs "
        "of this job.",
    )

    @model_validator(mode="after")
    def _check_restored_parts(self) -> Self:
        if not (self.model or self.optimizer or self.callbacks or self.records):
            raise ValueError("at least one of model, optimizer, callbacks and records must be true")
        return self


class TrainingSpec(Spec):
    """Fields of both training jobs and learning-rate searches, which ignore `milestones` and `register`."""

    model_config = ConfigDict(serialize_by_alias=True)

    spec_version: SpecVersion = 1
    kind: str
    name: Name | None = Field(default=None, description="The name of the job. Default: generated.")
    model: Name | None = Field(default=None, description="The name of the registered model. Default: `name`.")
    dataset: DatasetSpec = Field(description="The dataset, its splits, and the augmentation of its training images.")
    architecture: ArchitectureSpec = Field(description="The architecture and its options: see `GET /v1/catalog`.")
    loss: LossSpec | None = Field(
        default=None, description="The loss. Default: the default loss of the dataset's task."
    )
    optimizer: OptimizerSpec = Field(default=AdamSpec(), description="The optimizer.")
    schedule: ScheduleSpec | None = Field(
        default=None, description="The learning-rate schedule. Default: a constant learning rate."
    )
    metrics: Metrics | None = Field(
        default=None, description="The metrics. Default: the default metric of the dataset's task."
    )
    epochs: Annotated[int, Field(ge=1, le=1_000_000, description="The number of epochs.")] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536, description="The number of samples per batch.")] = 32
    drop_last: bool = Field(
        default=True,
        description="Drop the last batch of a training epoch if it is not full (the default of luz).",
    )
    sampler: Literal["random", "sequential", "weighted"] = Field(
        default="random",
        description="The order of the training samples in an epoch: shuffled, sequential, or `weighted`. `weighted` "
        "draws about the same number of samples of each class, with replacement.",
    )
    accumulate_batches: Annotated[int, Field(ge=1, le=65_536)] = Field(
        default=1,
        description="The number of batches whose gradients are accumulated for one optimizer step. Batch norm still "
        "uses `batch_size` samples. Steps, schedules and `drop_last` refer to the accumulated batch.",
    )
    on_oom: Literal["fail", "accumulate"] = Field(
        default="fail",
        description="What to do when a batch does not fit into device memory. `fail`: the job fails with a hint. "
        "`accumulate`: the batch is halved and its gradients are accumulated, and the job gets a warning. Batch norm "
        "then uses the smaller batches.",
    )
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, description="The seed of all random numbers.")] = 0
    init_from: ModelRef | None = Field(
        default=None,
        description="Start from the weights of a registered model. Weights that do not match the network are "
        "initialized.",
    )
    weights: Weights | None = Field(
        default=None,
        description="Start from a weights file: `file:<name>` in the folder `weights` of the workers' datasets "
        "folder, or `pretrained` for the published weights of the architecture and their normalization.",
    )
    resume_from: ResumeFromSpec | None = Field(
        default=None,
        description="Start from a checkpoint of another job. A job that was interrupted, paused or extended resumes "
        "from its own checkpoints without this field.",
    )
    freeze: Annotated[tuple[FreezePattern, ...], Field(strict=False, max_length=100)] = Field(
        default=(),
        description="Patterns for the names of frozen parameters. The last pattern that matches a name applies.",
    )
    freeze_bn_stats: bool = Field(
        default=True, description="Whether frozen batch norms use their running statistics without updating them."
    )
    cache_features: bool | Literal["auto"] = Field(
        default="auto",
        description="Whether to compute the outputs of the frozen layers before the first trained layer once per "
        "image, and to train the other layers with them. `auto`: if this does not change the results, and the outputs "
        "fit into the worker's limit. `true`: the job is rejected if it is impossible, for example because the images "
        "are augmented. `runtime.cached_features` reports what was done.",
    )
    device: Device = "auto"
    precision: Precision = "auto"
    compile: bool = Field(
        default=False,
        description="Compile the network with `torch.compile`. The first steps are slower, later steps are faster on a "
        "GPU. Checkpoints and models are the same as without compilation.",
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        default="auto",
        description="The number of CPU threads of the trainer. With the same number, results are bitwise reproducible. "
        "`auto`: the cores of the worker divided by its slots, or one thread if a small network trains about as fast "
        "with it. This is measured before the first epoch; `runtime.threads` reports the number.",
    )
    resources: ResourcesSpec = Field(default=ResourcesSpec(), description="The resources on a worker.")
    max_runtime_s: Positive | None = Field(
        default=None,
        description="The maximum run time in seconds, summed over all attempts. A longer job fails with `time_limit`, "
        "and its last checkpoint is retained. With the callback `time_limit`, it succeeds instead.",
    )
    callbacks: Callbacks = Field(default=(), description="The callbacks of the training, in order.")
    milestones: MilestonesSpec | None = Field(
        default=None,
        description="Epochs after which the job pauses. Schedules still cover all `epochs`, and a job that was resumed "
        "has the same results as without milestones. Default: none.",
    )
    should_register: bool = Field(
        default=True,
        alias="register",  # pydantic rejects a field with the name of a method of its classes
        description="Whether the job registers a model version. If false, the job keeps the trained network, and "
        "`POST /v1/jobs/{job_id}/register` registers it later.",
    )

    @model_validator(mode="after")
    def _check_initial_state(self) -> Self:
        sources = [name for name in ("init_from", "weights", "resume_from") if getattr(self, name) is not None]
        if len(sources) > 1:
            raise ValueError(f"only one of init_from, weights and resume_from can be set; got {' and '.join(sources)}")
        return self

    def get_shared_arguments(self) -> dict[str, Any]:
        """Return the fields except for `kind`, as arguments for a spec of the other kind."""
        fields = TrainingSpec.model_fields.items()
        return {field.alias or name: getattr(self, name) for name, field in fields if name != "kind"}


class JobSpec(TrainingSpec):
    """Train a network on a dataset. Only `dataset` and `architecture` are required."""

    kind: Literal["train"] = Field(default="train", description="The kind of the job. Default: `train`.")
