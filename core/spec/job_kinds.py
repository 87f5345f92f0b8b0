"""Defines the specs of all job kinds except training, and the union of all kinds. The default `kind` is `train`."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, TypeAdapter

from core.spec.base import LR_DESCRIPTION, Name, Positive, Probability, Spec, SpecVersion
from core.spec.job import DatasetSpec, Device, JobSpec, Metrics, ModelRef, Precision, TrainingSpec
from core.spec.registration import RegisterSpec
from core.spec.reproduction import ReproduceSpec


class LrFindSpec(TrainingSpec):
    """Increase the learning rate from `start_lr` to `end_lr`, one value per step, and suggest a learning rate.

    All fields of a training job except `milestones` and `register` are accepted. `schedule`, `epochs` and callbacks
    that do not change the steps are ignored. No model is registered. Source: Smith, 2015.
    """

    kind: Literal["lr_find"] = Field(description="The kind of the job.")
    steps: Annotated[int, Field(ge=2, le=100_000, description="The number of learning rates to try.")] = 100
    start_lr: Positive = Field(default=1e-7, description=f"The first learning rate to try. {LR_DESCRIPTION}")
    end_lr: Positive = Field(default=1e-1, description=f"The last learning rate to try. {LR_DESCRIPTION}")
    spacing: Literal["log", "linear"] = Field(
        default="log", description="The spacing of the learning rates between `start_lr` and `end_lr`."
    )


class ModelJobSpec(Spec):
    """Fields of jobs that apply a registered model to a split of a dataset."""

    spec_version: SpecVersion = 1
    kind: str
    name: Name | None = Field(default=None, description="The name of the job. Default: generated.")
    model: ModelRef
    dataset: DatasetSpec = Field(description="The dataset whose split is read.")
    split: Literal["train", "valid", "test"] = Field(default="test", description="The split to read.")
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        default=None,
        description="The seed that selects the held-out samples, together with `valid` and `test` of `dataset`. "
        "Default: on the dataset of the model's training, as in that training; otherwise 0.",
    )
    batch_size: Annotated[int, Field(ge=1, le=65_536, description="The number of samples per batch.")] = 256
    device: Device = "auto"
    precision: Precision = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        default="auto",
        description="The number of CPU threads of the trainer. `auto`: the cores of the worker divided by its slots.",
    )
    max_runtime_s: Positive | None = Field(
        default=None, description="The maximum run time in seconds, summed over all attempts."
    )


MIN_SHIFTED_SIDE = 2
"""The smallest side of an image that can be shifted by one pixel with reflected borders."""
Views = Annotated[
    Literal["none", "mirror", "mirror_and_shift"],
    Field(
        description="The views of each image whose scores are averaged (test-time augmentation): the image only, also "
        "its mirror image, or also both shifted by one pixel. They take 1, 2 or 6 times the computation."
    ),
]


def find_views_error(views: Views, image_shape: Sequence[int] | None) -> str | None:
    """Return why these views cannot be made of the inputs of a model, or None if they can.

    `image_shape`: (C, H, W); None if the model reads rows or windows.
    """
    if views == "none":
        return None
    if image_shape is None:
        return f"must be 'none': the model reads rows or windows, not images; got {views!r}"
    if views == "mirror_and_shift" and min(image_shape[1:]) < MIN_SHIFTED_SIDE:
        size = "x".join(str(length) for length in image_shape)
        reason = f"shifted images need at least 2x2 pixels, the model takes {size}"
        return f"must be 'none' or 'mirror': {reason}; got {views!r}"
    return None


class EvaluateSpec(ModelJobSpec):
    """Evaluate a registered model on a split: metrics, metrics per class, calibration and confusion matrix."""

    kind: Literal["evaluate"] = Field(description="The kind of the job.")
    metrics: Metrics | None = Field(
        default=None, description="The metrics. Default: the default metric of the dataset's task."
    )
    num_bins: Annotated[int, Field(ge=2, le=100)] = Field(
        default=15, description="The number of bins of the calibration table."
    )
    test_time_augmentation: Views = "none"


VariantFormat = Literal["onnx", "int8", "openvino", "torch-compile", "torch-export"]
"""The format of a stored variant."""
RequestedFormat = Literal["auto", "onnx", "int8", "openvino", "torch-compile", "torch-export"]
"""The format that a client requests: one of the stored formats, or `auto` for the fastest one."""
SERVED_VARIANTS: tuple[VariantFormat, ...] = ("onnx", "int8", "openvino", "torch-compile")
AUTO: Literal["auto"] = "auto"
CANDIDATE_FORMATS: tuple[VariantFormat, ...] = ("onnx", "openvino", "int8")
"""The formats among which `auto` chooses. `torch-compile` takes half a minute to load, so it is not one of them."""


class VariantSpec(ModelJobSpec):
    """Export, compile or quantize a registered model. The variant is stored if its accuracy is high enough.

    The accuracies of the model and the variant on `split` are compared. `int8` is calibrated with training samples.
    `torch-export` can only be downloaded; the other formats can also be served. `auto` makes `onnx`, `openvino` and
    `int8`, and stores the fastest one that is accurate enough and faster than the model, if there is one.
    """

    kind: Literal["variant"] = Field(description="The kind of the job.")
    format: RequestedFormat = Field(
        description="The format of the variant. `auto` chooses the fastest of `onnx`, `openvino` and `int8`; the "
        "`candidates` of the job's result say how each of them did.",
        examples=["onnx", "auto"],
    )
    split: Literal["train", "valid", "test"] = Field(
        default="valid", description="The split on which the model and the variant are evaluated."
    )
    max_drop: Probability = Field(
        default=0.005,
        description="The largest accepted decrease of the accuracy (for regression: of R²). The job fails if "
        "the decrease is larger; with `auto`, the format is not chosen.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="The precision of `openvino` and `torch-compile`. `auto` is bf16 if the worker's CPU accelerates "
        "it, otherwise fp32. The other formats have a fixed precision.",
    )
    device: Literal["cpu"] = Field(default="cpu", description="The device; variants are created on the CPU.")
    calibration_samples: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=256, description="The number of training samples that calibrate `int8`."
    )


class PredictArchiveSpec(ModelJobSpec):
    """Predict the images of an archive. `POST /v1/models/{ref}/predictions` stores the archive and creates this job.

    `dataset` is the dataset that the model was trained on; its samples are not read. It is null if the model was
    registered without training.
    """

    kind: Literal["predict_archive"] = Field(description="The kind of the job.")
    dataset: DatasetSpec | None = Field(  # type: ignore[assignment]  # specs are frozen
        description="The dataset of the model's training; null if the model was registered without training."
    )
    archive: Annotated[
        str, Field(pattern=r"^[0-9a-f]{32}$", description="The id of the uploaded archive.", examples=["0" * 32])
    ]
    top_k: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="The maximum number of classes per prediction, most probable first."
    )


class PredictSpec(ModelJobSpec):
    """Predict all samples of a split with a registered model. The results are files to download."""

    kind: Literal["predict"] = Field(description="The kind of the job.")
    top_k: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="The maximum number of classes per prediction, most probable first."
    )
    scores: bool = Field(
        default=False,
        description="Also return the raw scores of the network, before softmax or sigmoid; not for regression.",
    )
    test_time_augmentation: Views = "none"


def _add_default_kind(document: Any) -> Any:  # noqa: ANN401 - any JSON value
    return {"kind": "train", **document} if isinstance(document, dict) else document


AnyJobSpec = Annotated[
    JobSpec | LrFindSpec | EvaluateSpec | PredictSpec | VariantSpec | PredictArchiveSpec | RegisterSpec | ReproduceSpec,
    Discriminator("kind"),  # not `Field(discriminator=…)`: FastAPI replaces it with its own `Body(…)`
    BeforeValidator(_add_default_kind),
]
SPEC_BY_KIND: dict[str, type[Spec]] = {
    "train": JobSpec,
    "lr_find": LrFindSpec,
    "evaluate": EvaluateSpec,
    "predict": PredictSpec,
    "variant": VariantSpec,
    "predict_archive": PredictArchiveSpec,
    "register": RegisterSpec,
    "reproduce": ReproduceSpec,
}
KINDS = tuple(SPEC_BY_KIND)
ANY_JOB: TypeAdapter[
    JobSpec | LrFindSpec | EvaluateSpec | PredictSpec | VariantSpec | PredictArchiveSpec | RegisterSpec | ReproduceSpec
] = TypeAdapter(AnyJobSpec)
