"""The callbacks a job may ask for."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from core.spec.base import Count, NonNegative, Pattern, Positive, Share, Spec

Mode = Annotated[
    Literal["auto", "min", "max", "zero"],
    Field(description="What is better: less, more, or nearer to zero; `auto` goes by the metric."),
]
Monitor = Annotated[str, Field(max_length=100, description="`<train|valid>_<metric>`, for example `valid_loss`.")]


class CallbackBase(Spec):
    """Properties of a callback that validation reads; a callback sets those that apply to it."""

    exclusive_group: ClassVar[str | None] = None
    """What at most one callback of a job may do: `average weights`, `mix images`, or write the files of its name."""
    changes_steps: ClassVar[bool] = False
    """Whether it changes the training steps. Tuning keeps such callbacks and drops all others."""
    averages_weights: ClassVar[bool] = False
    mixes_images: ClassVar[bool] = False
    requires_single_process: ClassVar[bool] = False
    clips_gradients: ClassVar[bool] = False
    averages_after_training: ClassVar[bool] = False
    """Whether the registered weights are an average that no epoch validates."""
    selects_best_epoch: ClassVar[bool] = False
    max_classes: ClassVar[int | None] = None
    """The most classes that its table has; None where it needs no classes."""


class EarlyStoppingSpec(CallbackBase):
    """Stop after `patience` epochs in which `monitor` did not improve by more than `min_delta`.

    Only epochs without improvement are counted. Source: luz_callback_early_stopping, with Keras' counting.
    """

    name: Literal["early_stopping"] = "early_stopping"
    monitor: Monitor = "valid_loss"
    mode: Mode = "auto"
    patience: Count = 5
    min_delta: NonNegative = 0.0
    baseline: float | None = None
    min_epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class ModelCheckpointSpec(CallbackBase):
    """Keep a checkpoint every `every_epochs` epochs, or only those that improve on `monitor`; at most `keep` of them.

    The last two checkpoints and the best one are there in any case: a job goes on from the newest that is whole.
    Source: luz_callback_model_checkpoint.
    """

    name: Literal["model_checkpoint"] = "model_checkpoint"
    monitor: Monitor = "valid_loss"
    mode: Mode = "auto"
    min_delta: NonNegative = 0.0
    save_best_only: bool = False
    every_epochs: Count = 1
    keep: Count | None = Field(default=None, description="So many at most, the newest of them; all unless given.")


class KeepBestSpec(CallbackBase):
    """Register the weights of the best epoch instead of the last one. Source: luz_callback_keep_best_model."""

    selects_best_epoch: ClassVar[bool] = True

    name: Literal["keep_best"] = "keep_best"
    monitor: Monitor = "valid_loss"
    mode: Mode = "auto"
    min_delta: NonNegative = 0.0


class GradientClipSpec(CallbackBase):
    """Clip gradients by their norm over all parameters, or by value. Source: luz_callback_gradient_clip."""

    changes_steps: ClassVar[bool] = True
    clips_gradients: ClassVar[bool] = True

    name: Literal["gradient_clip"] = "gradient_clip"
    max_norm: Positive | None = None
    norm_type: Positive = 2.0
    max_value: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _set_default_max_norm(cls, value: object) -> object:
        if isinstance(value, dict) and "max_norm" not in value and "max_value" not in value:
            return {**value, "max_norm": 1.0}
        return value

    @model_validator(mode="after")
    def _check_one_limit(self) -> Self:
        if (self.max_norm is None) == (self.max_value is None):
            raise ValueError("give max_norm or max_value, not both")
        return self


class TimeLimitSpec(CallbackBase):
    """Stop after so many seconds of training, counted over all attempts; the job succeeds with what it has learnt."""

    name: Literal["time_limit"] = "time_limit"
    seconds: Positive


class FreezeSpec(CallbackBase):
    """Keep weights as they are for some epochs, such as a network's body until its new head has learnt."""

    name: Literal["freeze"] = "freeze"
    match: Pattern
    from_epoch: Count = 1
    until_epoch: Count | None = Field(default=None, description="The last epoch that it is frozen; unless given, all.")
    freeze_bn_stats: bool = Field(default=True, description="Keep the statistics of its batch norms, too.")

    @model_validator(mode="after")
    def _check_epoch_order(self) -> Self:
        if self.until_epoch is not None and self.until_epoch < self.from_epoch:
            raise ValueError("until_epoch must not be before from_epoch")
        return self


class EmaSpec(CallbackBase):
    """Validate and register an exponential mean of the weights. Source: Polyak and Juditsky, 1992."""

    averages_weights: ClassVar[bool] = True
    exclusive_group: ClassVar[str | None] = "average weights"

    name: Literal["ema"] = "ema"
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999


class SwaSpec(CallbackBase):
    """Register the mean of the weights at the ends of the last epochs; batch norm is measured anew for it.

    Curves are those of the weights that are trained. Source: Izmailov et al., 2018.
    """

    averages_weights: ClassVar[bool] = True
    exclusive_group: ClassVar[str | None] = "average weights"
    averages_after_training: ClassVar[bool] = True

    name: Literal["swa"] = "swa"
    start: Share = Field(default=0.75, description="Share of the epochs after which averaging begins.")


class LookaheadSpec(CallbackBase):
    """Every `k` steps go back to slow weights that went `alpha` of the way; they are validated and registered.

    Source: Zhang et al., "Lookahead Optimizer", 2019.
    """

    changes_steps: ClassVar[bool] = True
    averages_weights: ClassVar[bool] = True
    exclusive_group: ClassVar[str | None] = "average weights"

    name: Literal["lookahead"] = "lookahead"
    k: Annotated[int, Field(ge=2, le=1000)] = 5
    alpha: Share = 0.5


class MixupSpec(CallbackBase):
    """Blend each training picture with another; watch losses, as training accuracy means little then.

    Each keeps the share max(w, 1 - w) of w ~ Beta(alpha, alpha). Source: Zhang et al., 2017; luz_callback_mixup.
    """

    changes_steps: ClassVar[bool] = True
    exclusive_group: ClassVar[str | None] = "mix images"
    mixes_images: ClassVar[bool] = True

    name: Literal["mixup"] = "mixup"
    alpha: Annotated[float, Field(gt=0.0, le=100.0)] = 0.4


class CutmixSpec(CallbackBase):
    """Put a box of another training picture into each, of 1 - w of its area with w ~ Beta(alpha, alpha).

    Source: Yun et al., 2019.
    """

    changes_steps: ClassVar[bool] = True
    exclusive_group: ClassVar[str | None] = "mix images"
    mixes_images: ClassVar[bool] = True

    name: Literal["cutmix"] = "cutmix"
    alpha: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0


class CsvLoggerSpec(CallbackBase):
    """Leave `metrics.csv`: every epoch's metrics, one row a set. Source: luz_callback_csv_logger."""

    exclusive_group: ClassVar[str | None] = "write metrics.csv"

    name: Literal["csv_logger"] = "csv_logger"


class TensorBoardSpec(CallbackBase):
    """Leave an event file for TensorBoard: every epoch's metrics, by epoch. Source: luz_callback_tfevents."""

    exclusive_group: ClassVar[str | None] = "write an event file"

    name: Literal["tensorboard"] = "tensorboard"
    histograms: Annotated[tuple[Pattern, ...], Field(strict=False, max_length=100)] = Field(
        default=(), description="Parameters whose values are shown as histograms, too; `*` for all."
    )


class ConfusionMatrixCallbackSpec(CallbackBase):
    """Leave the confusion matrix of the last epoch's validation: `confusion_matrix.csv` and `.png`."""

    exclusive_group: ClassVar[str | None] = "write confusion_matrix.csv"
    max_classes: ClassVar[int | None] = 1000

    name: Literal["confusion_matrix"] = "confusion_matrix"


class WorstSamplesSpec(CallbackBase):
    """Leave the samples with the highest losses of the last epoch's validation: `worst_samples.csv` and `.png`.

    Their names and places in the dataset, what they are, what they were taken for, their pictures.
    """

    exclusive_group: ClassVar[str | None] = "write worst_samples.csv"

    name: Literal["worst_samples"] = "worst_samples"
    count: Annotated[int, Field(ge=1, le=100)] = 25


class BatchSizeFinderSpec(CallbackBase):
    """Before the training try batch sizes, `batch_size` first and then each twice the last, and train with the best.

    The quickest is the smallest that makes about as many samples a second as any; the learning rate stays as it is.
    Source: Lightning's BatchSizeFinder.
    """

    exclusive_group: ClassVar[str | None] = "find the batch size"
    requires_single_process: ClassVar[bool] = True

    name: Literal["batch_size_finder"] = "batch_size_finder"
    max_size: Annotated[int, Field(ge=1, le=65_536)] = 1024
    steps: Annotated[int, Field(ge=1, le=1000)] = Field(default=5, description="Of each size, after a first one.")
    choose: Literal["quickest", "largest"] = Field(default="quickest", description="`largest`: that fits into memory.")


CallbackSpec = Annotated[
    EarlyStoppingSpec
    | ModelCheckpointSpec
    | KeepBestSpec
    | GradientClipSpec
    | TimeLimitSpec
    | FreezeSpec
    | EmaSpec
    | SwaSpec
    | LookaheadSpec
    | MixupSpec
    | CutmixSpec
    | CsvLoggerSpec
    | TensorBoardSpec
    | ConfusionMatrixCallbackSpec
    | WorstSamplesSpec
    | BatchSizeFinderSpec,
    Field(discriminator="name"),
]
