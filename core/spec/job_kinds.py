"""The kinds of a job beside a training, and the union of them all; `kind` says which, a training unless given."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, TypeAdapter

from core.spec.base import LR_DESCRIPTION, Name, Positive, Probability, Spec
from core.spec.job import DatasetSpec, JobSpec, Metrics, ModelRef, TrainingSpec


class LrFindSpec(TrainingSpec):
    """Try learning rates from `start_lr` to `end_lr`, one a step, and suggest one; nothing is registered.

    The rest is as in the training that is meant, so that its body can be sent; its `schedule`, its `epochs` and those
    callbacks that do not alter the steps are left out. Source: Smith, 2015.
    """

    kind: Literal["lr_find"]
    steps: Annotated[int, Field(ge=2, le=100_000)] = 100
    start_lr: Positive = Field(default=1e-7, description=LR_DESCRIPTION)
    end_lr: Positive = Field(default=1e-1, description=LR_DESCRIPTION)
    spacing: Literal["log", "linear"] = "log"


class ModelJobSpec(Spec):
    """A registered model shown one split of a dataset."""

    spec_version: Literal[1] = 1
    kind: str
    name: Name | None = Field(default=None, description="Generated unless given.")
    model: ModelRef
    dataset: DatasetSpec
    split: Literal["train", "valid", "test"] = "test"
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        default=None,
        description="Decides which samples are held out for validation, as does the dataset's `valid`; both are those "
        "of the model's own training unless given.",
    )
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 256
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$")] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    max_runtime_s: Positive | None = None


class EvaluateSpec(ModelJobSpec):
    """Measure a registered model on a split: metrics, a table by class, calibration, the confusion matrix."""

    kind: Literal["evaluate"]
    metrics: Metrics | None = Field(default=None, description="The usual metric of the dataset's task unless given.")
    num_bins: Annotated[int, Field(ge=2, le=100)] = Field(default=15, description="Bins of the reliability table.")


VariantFormat = Literal["onnx", "int8", "openvino", "torch-compile", "torch-export"]
SERVED_VARIANTS: tuple[VariantFormat, ...] = ("onnx", "int8", "openvino", "torch-compile")


class VariantSpec(ModelJobSpec):
    """Make another form of a registered model, exported, compiled or quantised; it is kept if it answers as well.

    Both are shown the split. `int8` measures its ranges on pictures of the training split. `torch-export` is for
    download, the others are served, too.
    """

    kind: Literal["variant"]
    format: VariantFormat
    split: Literal["train", "valid", "test"] = "valid"
    max_drop: Probability = Field(
        default=0.005, description="The job fails if accuracy (of a regression: R squared) falls by more than this."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="Of `openvino` and `torch-compile`: bf16 where the worker's processor computes with it, unless "
        "said otherwise. The others are fp32, or int8.",
    )
    device: Literal["cpu"] = "cpu"
    calibration_samples: Annotated[int, Field(ge=1, le=10_000)] = Field(default=256, description="Of `int8` alone.")


class PredictArchiveSpec(ModelJobSpec):
    """Predict the pictures of an uploaded archive; `POST /v1/models/{ref}/predictions` takes it in and posts this job.

    `dataset` is the one that the model was trained on; nothing of it is read.
    """

    kind: Literal["predict_archive"]
    archive: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="As it was given when it was taken in.")]
    top_k: Annotated[int, Field(ge=1, le=1000)] = Field(default=5, description="At most all classes.")


class PredictSpec(ModelJobSpec):
    """Predict every sample of a split with a registered model; the answers are files to download."""

    kind: Literal["predict"]
    top_k: Annotated[int, Field(ge=1, le=1000)] = Field(default=5, description="At most all classes.")
    scores: bool = Field(
        default=False,
        description="Tell the network's raw scores too, before softmax or sigmoid; of numbers there are none.",
    )


def _add_default_kind(document: Any) -> Any:  # noqa: ANN401 - whatever was sent
    return {"kind": "train", **document} if isinstance(document, dict) else document


AnyJobSpec = Annotated[
    JobSpec | LrFindSpec | EvaluateSpec | PredictSpec | VariantSpec | PredictArchiveSpec,
    Discriminator("kind"),  # not `Field(…)`, of which FastAPI would take one alone, its own `Body(…)`
    BeforeValidator(_add_default_kind),
]
SPEC_BY_KIND: dict[str, type[Spec]] = {
    "train": JobSpec,
    "lr_find": LrFindSpec,
    "evaluate": EvaluateSpec,
    "predict": PredictSpec,
    "variant": VariantSpec,
    "predict_archive": PredictArchiveSpec,
}
KINDS = tuple(SPEC_BY_KIND)
ANY_JOB: TypeAdapter[JobSpec | LrFindSpec | EvaluateSpec | PredictSpec | VariantSpec | PredictArchiveSpec] = (
    TypeAdapter(AnyJobSpec)
)
