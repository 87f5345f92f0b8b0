"""Defines the specs of training callbacks."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from core.spec.base import Count, Monitor, NonNegative, Pattern, Positive, Share, Signed
from core.spec.callback_base import CallbackBase, Mode

SlowShare = Annotated[float, Field(gt=0.0, le=1.0)]
MIN_DELTA = "The smallest change that counts as an improvement."


class EarlyStoppingSpec(CallbackBase):
    """Stop after `patience` consecutive epochs in which `monitor` did not improve by more than `min_delta`.

    Source: luz_callback_early_stopping. Epochs are counted as in Keras.
    """

    name: Literal["early_stopping"] = "early_stopping"
    monitor: Monitor = "valid_loss"
    mode: Mode = "auto"
    patience: Count = Field(
        default=5, description="The number of consecutive epochs without improvement after which the training stops."
    )
    min_delta: NonNegative = Field(default=0.0, description=MIN_DELTA)
    baseline: Signed | None = Field(default=None, description="The initial best value, which epochs must improve on.")
    min_epochs: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=0, description="The minimum number of epochs before the training stops."
    )

    def get_earliest_stop(self, first_epoch: int) -> int | None:
        """Return the first epoch after which the callback can stop a run that starts, or is extended, at `first_epoch`.

        The patience counts from `first_epoch`, and `min_epochs` from the first epoch of the job.
        """
        return max(first_epoch + self.patience - 1, self.min_epochs)


class ModelCheckpointSpec(CallbackBase):
    """Retain a checkpoint every `every_epochs` epochs, or only checkpoints that improve `monitor`.

    The last two checkpoints and the best one are always retained. A job resumes from the newest undamaged checkpoint.
    Source: luz_callback_model_checkpoint.
    """

    name: Literal["model_checkpoint"] = "model_checkpoint"
    monitor: Monitor = "valid_loss"
    mode: Mode = "auto"
    min_delta: NonNegative = Field(default=0.0, description=MIN_DELTA)
    save_best_only: bool = Field(default=False, description="Retain only checkpoints that improve `monitor`.")
    every_epochs: Count = Field(default=1, description="The interval between retained checkpoints, in epochs.")
    keep: Count | None = Field(
        default=None,
        description="The maximum number of retained checkpoints; the oldest are deleted first. Default: all.",
    )


class KeepBestSpec(CallbackBase):
    """Register the weights of the best epoch instead of the last epoch. Source: luz_callback_keep_best_model."""

    selects_best_epoch: ClassVar[bool] = True

    name: Literal["keep_best"] = "keep_best"
    monitor: Monitor = "valid_loss"
    mode: Mode = "auto"
    min_delta: NonNegative = Field(default=0.0, description=MIN_DELTA)


class GradientClipSpec(CallbackBase):
    """Clip gradients by their norm over all parameters, or by value. Source: luz_callback_gradient_clip."""

    changes_steps: ClassVar[bool] = True
    clips_gradients: ClassVar[bool] = True

    name: Literal["gradient_clip"] = "gradient_clip"
    max_norm: Positive | None = Field(
        default=None, description="The maximum norm. Default: 1.0 if `max_value` is not set."
    )
    norm_type: Positive = Field(default=2.0, description="The order p of the p-norm; 2 is the Euclidean norm.")
    max_value: Positive | None = Field(default=None, description="The maximum absolute value of each gradient.")

    @model_validator(mode="before")
    @classmethod
    def _set_default_max_norm(cls, value: object) -> object:
        if isinstance(value, dict) and "max_norm" not in value and "max_value" not in value:
            return {**value, "max_norm": 1.0}
        return value

    @model_validator(mode="after")
    def _check_one_limit(self) -> Self:
        if (self.max_norm is None) == (self.max_value is None):
            raise ValueError("set either max_norm or max_value, not both")
        return self


class TimeLimitSpec(CallbackBase):
    """Stop after `seconds` of training, summed over all attempts. The job succeeds with its current weights."""

    ends_after_time: ClassVar[bool] = True

    name: Literal["time_limit"] = "time_limit"
    seconds: Positive = Field(description="The maximum training time in seconds.", examples=[3600.0])


class FreezeSpec(CallbackBase):
    """Freeze parameters for some epochs, for example the backbone while a new head is trained."""

    name: Literal["freeze"] = "freeze"
    match: Pattern = Field(examples=["*weight"])
    from_epoch: Count = Field(default=1, description="The first epoch in which the parameters are frozen.")
    until_epoch: Count | None = Field(
        default=None,
        description="The last epoch in which the parameters are frozen. Default: the last epoch of the job.",
    )
    freeze_bn_stats: bool = Field(
        default=True, description="Also freeze the running statistics of matching batch norms."
    )

    @model_validator(mode="after")
    def _check_epoch_order(self) -> Self:
        if self.until_epoch is not None and self.until_epoch < self.from_epoch:
            raise ValueError("until_epoch must be at least from_epoch")
        return self


class EmaSpec(CallbackBase):
    """Validate and register an exponential moving average of the weights. Source: Polyak and Juditsky, 1992."""

    averages_weights: ClassVar[bool] = True
    exclusive_group: ClassVar[str | None] = "average weights"

    name: Literal["ema"] = "ema"
    decay: Annotated[float, Field(gt=0.0, lt=1.0, description="The weight of the previous average per step.")] = 0.999


class SwaSpec(CallbackBase):
    """Register the mean of the weights at the ends of the last epochs (stochastic weight averaging).

    Batch norm statistics are computed again for the mean weights. Curves show the trained weights, not their mean.
    Source: Izmailov et al., 2018.
    """

    averages_weights: ClassVar[bool] = True
    exclusive_group: ClassVar[str | None] = "average weights"
    averages_after_training: ClassVar[bool] = True

    name: Literal["swa"] = "swa"
    start: Share = Field(default=0.75, description="Averaging starts after this fraction of the epochs.")


class LookaheadSpec(CallbackBase):
    """Move slow weights towards the trained weights every `k` steps; validate and register the slow weights.

    Source: Zhang et al., "Lookahead Optimizer", 2019; Jordan, 2024, for `final_alpha`.
    """

    changes_steps: ClassVar[bool] = True
    averages_weights: ClassVar[bool] = True
    exclusive_group: ClassVar[str | None] = "average weights"

    name: Literal["lookahead"] = "lookahead"
    k: Annotated[
        int, Field(ge=2, le=1000, description="The number of steps between two updates of the slow weights.")
    ] = 5
    alpha: SlowShare = Field(
        default=0.5,
        description="The fraction of the distance to the trained weights that the slow weights move per update.",
    )
    final_alpha: SlowShare | None = Field(
        default=None,
        description="The fraction at the end of the job. It changes from `alpha` with the cube of the progress: slowly "
        "at first. Default: `alpha`.",
    )
    average_statistics: bool = Field(
        default=False, description="Whether to average the running statistics of batch norms like the weights."
    )


class MixupSpec(CallbackBase):
    """Blend each training image with a different training image. Training accuracy is then not meaningful.

    The weight of the image itself is max(w, 1 - w), with w ~ Beta(alpha, alpha).
    Source: Zhang et al., 2017; luz_callback_mixup.
    """

    changes_steps: ClassVar[bool] = True
    exclusive_group: ClassVar[str | None] = "mix images"
    mixes_images: ClassVar[bool] = True

    name: Literal["mixup"] = "mixup"
    alpha: Annotated[float, Field(gt=0.0, le=100.0, description="The parameter of the beta distribution.")] = 0.4


class CutmixSpec(CallbackBase):
    """Replace a box of each training image with the same box of a different training image.

    The box covers the fraction 1 - w of the image, with w ~ Beta(alpha, alpha).

    Source: Yun et al., 2019.
    """

    changes_steps: ClassVar[bool] = True
    exclusive_group: ClassVar[str | None] = "mix images"
    mixes_images: ClassVar[bool] = True

    name: Literal["cutmix"] = "cutmix"
    alpha: Annotated[float, Field(gt=0.0, le=100.0, description="The parameter of the beta distribution.")] = 1.0


class CsvLoggerSpec(CallbackBase):
    """Write `metrics.csv` with the metrics of each epoch, one row per split. Source: luz_callback_csv_logger."""

    exclusive_group: ClassVar[str | None] = "write metrics.csv"

    name: Literal["csv_logger"] = "csv_logger"


class TensorBoardSpec(CallbackBase):
    """Write an event file for TensorBoard with the metrics of each epoch. Source: luz_callback_tfevents."""

    exclusive_group: ClassVar[str | None] = "write an event file"

    name: Literal["tensorboard"] = "tensorboard"
    histograms: Annotated[tuple[Pattern, ...], Field(strict=False, max_length=100)] = Field(
        default=(), description="Patterns for the names of parameters whose histograms are written; `*` matches all."
    )


class ConfusionMatrixCallbackSpec(CallbackBase):
    """Write the confusion matrix of the last validation as CSV, PNG and JSON, with metrics of each class as JSON."""

    exclusive_group: ClassVar[str | None] = "write confusion_matrix.csv"
    requires_validation: ClassVar[bool] = True
    max_classes: ClassVar[int | None] = 1000

    name: Literal["confusion_matrix"] = "confusion_matrix"


class WorstSamplesSpec(CallbackBase):
    """Write the samples with the highest losses of the last validation to `worst_samples.csv`, `.png` and `.json`.

    The files contain the name, index, target, prediction and image of each sample.
    """

    exclusive_group: ClassVar[str | None] = "write worst_samples.csv"
    requires_validation: ClassVar[bool] = True

    name: Literal["worst_samples"] = "worst_samples"
    count: Annotated[int, Field(ge=1, le=100, description="The number of samples to write.")] = 25


class BatchSizeFinderSpec(CallbackBase):
    """Find a batch size before the training: try `batch_size` and then repeatedly double it.

    `quickest` selects the smallest size whose throughput is close to the highest. The learning rate does not change.
    Source: Lightning's BatchSizeFinder.
    """

    exclusive_group: ClassVar[str | None] = "find the batch size"
    requires_single_process: ClassVar[bool] = True
    tuned_field: ClassVar[str | None] = "batch_size"

    name: Literal["batch_size_finder"] = "batch_size_finder"
    max_size: Annotated[int, Field(ge=1, le=65_536, description="The largest batch size to try.")] = 1024
    steps: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="The number of steps that are measured for each batch size, after one warm-up step."
    )
    choose: Literal["quickest", "largest"] = Field(
        default="quickest",
        description="`quickest` selects the smallest size with nearly the highest throughput, `largest` the largest "
        "size that fits into memory.",
    )


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
