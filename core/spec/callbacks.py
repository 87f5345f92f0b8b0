"""The callbacks a job may ask for."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.spec.base import Count, NonNegative, Pattern, Positive, Share, Spec

Mode = Annotated[
    Literal["auto", "min", "max", "zero"],
    Field(description="What is better: less, more, or nearer to zero; `auto` goes by the metric."),
]
Monitor = Annotated[str, Field(max_length=100, description="`<train|valid>_<metric>`, for example `valid_loss`.")]


class EarlyStoppingSpec(Spec):
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


class ModelCheckpointSpec(Spec):
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


class KeepBestSpec(Spec):
    """Register the weights of the best epoch instead of the last one. Source: luz_callback_keep_best_model."""

    name: Literal["keep_best"] = "keep_best"
    monitor: Monitor = "valid_loss"
    mode: Mode = "auto"
    min_delta: NonNegative = 0.0


class GradientClipSpec(Spec):
    """Clip gradients by their norm over all parameters, or by value. Source: luz_callback_gradient_clip."""

    name: Literal["gradient_clip"] = "gradient_clip"
    max_norm: Positive | None = None
    norm_type: Positive = 2.0
    max_value: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _norm_of_one_unless_said(cls, value: object) -> object:
        if isinstance(value, dict) and "max_norm" not in value and "max_value" not in value:
            return {**value, "max_norm": 1.0}
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.max_norm is None) == (self.max_value is None):
            raise ValueError("give max_norm or max_value, not both")
        return self


class TimeLimitSpec(Spec):
    """Stop after so many seconds of training, counted over all attempts; the job succeeds with what it has learnt."""

    name: Literal["time_limit"] = "time_limit"
    seconds: Positive


class FreezeSpec(Spec):
    """Keep weights as they are for some epochs, such as a network's body until its new head has learnt."""

    name: Literal["freeze"] = "freeze"
    match: Pattern
    from_epoch: Count = 1
    until_epoch: Count | None = Field(default=None, description="The last epoch that it is frozen; unless given, all.")
    freeze_bn_stats: bool = Field(default=True, description="Keep the statistics of its batch norms, too.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.until_epoch is not None and self.until_epoch < self.from_epoch:
            raise ValueError("until_epoch must not be before from_epoch")
        return self


class EmaSpec(Spec):
    """Validate and register an exponential mean of the weights. Source: Polyak and Juditsky, 1992."""

    name: Literal["ema"] = "ema"
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999


class SwaSpec(Spec):
    """Register the mean of the weights at the ends of the last epochs; batch norm is measured anew for it.

    Curves are those of the weights that are trained. Source: Izmailov et al., 2018.
    """

    name: Literal["swa"] = "swa"
    start: Share = Field(default=0.75, description="Share of the epochs after which averaging begins.")


class LookaheadSpec(Spec):
    """Every `k` steps go back to slow weights that went `alpha` of the way; they are validated and registered.

    Source: Zhang et al., "Lookahead Optimizer", 2019.
    """

    name: Literal["lookahead"] = "lookahead"
    k: Annotated[int, Field(ge=2, le=1000)] = 5
    alpha: Share = 0.5


class MixupSpec(Spec):
    """Blend each training picture with another; watch losses, as training accuracy means little then.

    Each keeps the share max(w, 1 - w) of w ~ Beta(alpha, alpha). Source: Zhang et al., 2017; luz_callback_mixup.
    """

    name: Literal["mixup"] = "mixup"
    alpha: Annotated[float, Field(gt=0.0, le=100.0)] = 0.4


class CutmixSpec(Spec):
    """Put a box of another training picture into each, of 1 - w of its area with w ~ Beta(alpha, alpha).

    Source: Yun et al., 2019.
    """

    name: Literal["cutmix"] = "cutmix"
    alpha: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0


class CsvLoggerSpec(Spec):
    """Leave `metrics.csv`: every epoch's metrics, one row a set. Source: luz_callback_csv_logger."""

    name: Literal["csv_logger"] = "csv_logger"


class TensorBoardSpec(Spec):
    """Leave an event file for TensorBoard: every epoch's metrics, by epoch. Source: luz_callback_tfevents."""

    name: Literal["tensorboard"] = "tensorboard"
    histograms: Annotated[tuple[Pattern, ...], Field(strict=False, max_length=100)] = Field(
        default=(), description="Parameters whose values are shown as histograms, too; `*` for all."
    )


class ConfusionMatrixCallbackSpec(Spec):
    """Leave the confusion matrix of the last epoch's validation: `confusion_matrix.csv` and `.png`."""

    name: Literal["confusion_matrix"] = "confusion_matrix"


class WorstSamplesSpec(Spec):
    """Leave the samples with the highest losses of the last epoch's validation: `worst_samples.csv` and `.png`.

    Their names and places in the dataset, what they are, what they were taken for, their pictures.
    """

    name: Literal["worst_samples"] = "worst_samples"
    count: Annotated[int, Field(ge=1, le=100)] = 25


class BatchSizeFinderSpec(Spec):
    """Before the training try batch sizes, `batch_size` first and then each twice the last, and train with the best.

    The quickest is the smallest that makes about as many samples a second as any; the learning rate stays as it is.
    Source: Lightning's BatchSizeFinder.
    """

    name: Literal["batch_size_finder"] = "batch_size_finder"
    max_size: Annotated[int, Field(ge=1, le=65_536)] = 1024
    steps: Annotated[int, Field(ge=1, le=1000)] = Field(default=5, description="Of each size, after a first one.")
    choose: Literal["quickest", "largest"] = Field(default="quickest", description="`largest`: that fits into memory.")


UNIQUE_CALLBACKS = (CsvLoggerSpec, TensorBoardSpec, ConfusionMatrixCallbackSpec, WorstSamplesSpec, BatchSizeFinderSpec)
"""What is asked for once: most of it leaves files of fixed names."""

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
