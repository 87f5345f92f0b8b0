"""A job in words: the body of `POST /v1/jobs`, and what is stored of it."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from core.spec.base import Count, Name, Positive, Share, Spec
from core.spec.callbacks import CallbackSpec
from core.spec.losses import LossSpec
from core.spec.metrics import MetricSpec
from core.spec.optimizers import AdamSpec, OptimizerSpec
from core.spec.schedules import ScheduleSpec
from core.spec.transforms import TransformSpec

Transforms = Annotated[tuple[TransformSpec, ...], Field(strict=False, max_length=32)]
Metrics = Annotated[tuple[MetricSpec, ...], Field(strict=False, max_length=32)]
Callbacks = Annotated[tuple[CallbackSpec, ...], Field(strict=False, max_length=32)]


MODEL_REF = r"^[a-z0-9][a-z0-9._-]{0,62}(@[a-z0-9][a-z0-9._-]{0,62})?$"
ModelRef = Annotated[str, Field(pattern=MODEL_REF, description="A registered model: `name`, `name@3` or `name@alias`.")]
PRETRAINED = "pretrained"
WEIGHTS = rf"^(file:[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}\.safetensors|{PRETRAINED})$"
# One pattern: of a union each part would tell its own error about the one value.
Weights = Annotated[str, Field(pattern=WEIGHTS, examples=["file:resnet18.safetensors", PRETRAINED])]
FREEZE_DESCRIPTION = (
    "`*` stands for any text, `?` for one character; a leading `!` excepts names from the patterns before it."
)
FreezePattern = Annotated[str, Field(min_length=1, max_length=200, description=FREEZE_DESCRIPTION)]


class NamedOptions(Spec):
    """A name from an open catalogue, with that entry's options beside it; the entry itself checks them."""

    model_config = ConfigDict(extra="allow")
    name: Name

    @property
    def options(self) -> dict[str, Any]:
        """The fields beside those that are declared."""
        return dict(self.model_extra or {})


class DatasetSpec(NamedOptions):
    """Which dataset, how it is split, and what changes its training pictures.

    A built-in dataset may take options beside these fields: see `GET /v1/catalog`.
    """

    version: Count | Literal["latest"] = "latest"
    valid: Share | None = Field(
        default=None,
        description="Share of the training split held out for validation. Unless given: the dataset's own "
        "validation split, or 0.1 where it has none.",
    )
    test: Share | None = Field(
        default=None,
        description="Share of the training split held out for the last measurement, where the dataset has no test "
        "split of its own. With `valid` of 0.2 and `test` of 0.2, 0.6 are trained on.",
    )
    stratify: bool = Field(default=True, description="Hold out the same share of every class.")
    train_transforms: Transforms = ()


class ArchitectureSpec(NamedOptions):
    """Which network, with its options beside the name: see `GET /v1/catalog`."""


class ResourcesSpec(Spec):
    """What a training takes of a worker."""

    devices: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="Processes that train together, each on a device of its own (a GPU, or a share of the CPU's cores) "
        "and on an equal part of every batch. Each takes one of its worker's slots.",
    )


class ResumeFromSpec(Spec):
    """Begin with a checkpoint of another job, with its weights alone unless more is asked for.

    Source: luz_callback_resume_from_checkpoint, whose four flags these are.
    """

    job: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="The id of a training.")]
    checkpoint: Count | Literal["latest", "best"] = Field(
        default="latest", description="Its number, or the newest or best there is when the job is posted."
    )
    model: bool = Field(default=True, description="Its weights; those that do not fit begin anew, and are named.")
    optimizer: bool = Field(
        default=False,
        description="What the optimizer remembers, such as moments; learning rate and decay are those of this job.",
    )
    callbacks: bool = Field(
        default=False,
        description="What callbacks of the same name remember, and where a schedule of the same name stands.",
    )
    records: bool = Field(
        default=False,
        description="Its curves up to there come first, and its whole epochs count among this job's `epochs`.",
    )

    @model_validator(mode="after")
    def _check_restored_parts(self) -> Self:
        if not (self.model or self.optimizer or self.callbacks or self.records):
            raise ValueError("nothing of the checkpoint is asked for")
        return self


class TrainingSpec(Spec):
    """What a training is made of, whatever it is made for."""

    spec_version: Literal[1] = 1
    kind: str
    name: Name | None = Field(default=None, description="Generated unless given.")
    model: Name | None = Field(default=None, description="The registry's name for the result; `name` unless given.")
    dataset: DatasetSpec
    architecture: ArchitectureSpec
    loss: LossSpec | None = Field(default=None, description="The usual loss of the dataset's task unless given.")
    optimizer: OptimizerSpec = AdamSpec()
    schedule: ScheduleSpec | None = None
    metrics: Metrics | None = Field(default=None, description="The usual metric of the dataset's task unless given.")
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    drop_last: bool = Field(
        default=True,
        description="Leave out the last batch of a training epoch where it is not full (luz's default).",
    )
    sampler: Literal["random", "sequential", "weighted"] = Field(
        default="random",
        description="In which order an epoch takes the training samples: shuffled, as they lie, or `weighted`: as many "
        "in all, but of every class about as many; those of a small class come several times, of a large one some.",
    )
    accumulate_batches: Annotated[int, Field(ge=1, le=65_536)] = Field(
        default=1,
        description="Batches whose gradients make one optimizer step, as a batch so many times as large would; batch "
        "norm still sees `batch_size` samples at a time. Steps, schedules and `drop_last` go by the larger batch.",
    )
    on_oom: Literal["fail", "accumulate"] = Field(
        default="fail",
        description="Where the device has no memory left for a batch: fail with advice, or pass half as many samples "
        "through the network at a time and make the same step of them; then a warning says so. Batch norm sees as many "
        "as are passed at a time.",
    )
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    init_from: ModelRef | None = Field(
        default=None, description="Begin with the weights of this registered model; what does not fit begins anew."
    )
    weights: Weights | None = Field(
        default=None,
        description="Begin with the weights of a file in the folder `weights` of the workers' datasets or, "
        "`pretrained`, with those that the architecture was published with, and normalise pictures as for them.",
    )
    resume_from: ResumeFromSpec | None = Field(
        default=None,
        description="Begin with a checkpoint of another job. One that is interrupted, paused or extended goes on from "
        "its own checkpoints by itself.",
    )
    freeze: Annotated[tuple[FreezePattern, ...], Field(strict=False, max_length=100)] = Field(
        default=(), description="Parameters that stay as they are; of all patterns that match one, the last counts."
    )
    freeze_bn_stats: bool = Field(
        default=True, description="Batch norms that are frozen keep their running statistics, and use them."
    )
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$")] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = Field(
        default=False,
        description="Let `torch.compile` make one program of the network: its first steps take long, as the log tells, "
        "and the others less on a GPU. Checkpoints and models are the same either way.",
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        default="auto", description="CPU threads of the trainer; results are equal to the bit for an equal number."
    )
    resources: ResourcesSpec = ResourcesSpec()
    max_runtime_s: Positive | None = Field(
        default=None,
        description="Seconds of work, all attempts together, after which the job fails with `time_limit`; its last "
        "checkpoint is kept. The callback `time_limit` ends in success instead.",
    )
    callbacks: Callbacks = ()

    @model_validator(mode="after")
    def _check_initial_state(self) -> Self:
        sources = [name for name in ("init_from", "weights", "resume_from") if getattr(self, name) is not None]
        if len(sources) > 1:
            raise ValueError(f"{' and '.join(sources)} are {len(sources)} beginnings; give one")
        return self


class JobSpec(TrainingSpec):
    """Train a network on a dataset. Only `dataset` and `architecture` are required."""

    kind: Literal["train"] = "train"
