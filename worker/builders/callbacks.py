"""Builds the callbacks of a job spec, including gradient clipping, mixing and weight averaging."""

from typing import assert_never

from torch import nn

from core.spec import callbacks
from worker.engine.averaging import Averaging, Ema, Lookahead, Swa
from worker.engine.callback import Callback, SaveArtifact, noop
from worker.engine.callbacks import (
    ConfusionMatrix,
    CsvLogger,
    EarlyStopping,
    Freeze,
    KeepBest,
    ModelCheckpoint,
    TensorBoard,
    TimeLimit,
    ValidationSamples,
    WorstSamples,
)
from worker.engine.mixing import BatchMixing, Cutmix, Mixup
from worker.engine.optimizer_step import GradientClipping

NO_SAMPLES = ValidationSamples()
StepPartSpec = (
    callbacks.GradientClipSpec
    | callbacks.EmaSpec
    | callbacks.SwaSpec
    | callbacks.LookaheadSpec
    | callbacks.MixupSpec
    | callbacks.CutmixSpec
)
"""Specs of the callbacks that change the training step."""


def make_callback(
    spec: callbacks.CallbackSpec,
    network: nn.Module,
    *,
    epochs: int = 1,
    save_artifact: SaveArtifact = noop,
    validation_samples: ValidationSamples = NO_SAMPLES,
    loss: nn.Module | None = None,
) -> Callback | GradientClipping | Averaging | BatchMixing:
    """Build the callback or the part of the training step (such as gradient clipping) that the spec describes.

    Callbacks store their files with `save_artifact`. `loss` is the loss of the run. Default: cross-entropy.
    """
    options = spec.model_dump(exclude={"name"})
    match spec:
        case callbacks.EarlyStoppingSpec():
            return EarlyStopping(**options)
        case callbacks.ModelCheckpointSpec():
            return ModelCheckpoint(**options)
        case callbacks.KeepBestSpec():
            return KeepBest(network, **options)
        case callbacks.TimeLimitSpec():
            return TimeLimit(**options)
        case callbacks.FreezeSpec():
            return Freeze(network, **options)
        case callbacks.CsvLoggerSpec():
            return CsvLogger(save_artifact)
        case callbacks.TensorBoardSpec():
            return TensorBoard(network, save_artifact, **options)
        case callbacks.ConfusionMatrixCallbackSpec():
            return ConfusionMatrix(validation_samples, save_artifact)
        case callbacks.WorstSamplesSpec():
            return WorstSamples(validation_samples, loss or nn.CrossEntropyLoss(), save_artifact, **options)
        case callbacks.BatchSizeFinderSpec():
            return Callback()  # a callback without effect: the batch size is tuned before the run is built
        case _:
            return _make_step_part(spec, network, epochs)


def _make_step_part(spec: StepPartSpec, network: nn.Module, epochs: int) -> GradientClipping | Averaging | BatchMixing:
    options = spec.model_dump(exclude={"name"})
    match spec:
        case callbacks.GradientClipSpec():
            return GradientClipping(**options)
        case callbacks.EmaSpec():
            return Ema(network, **options)
        case callbacks.SwaSpec(start=start):
            return Swa(network, start_epoch=int(start * epochs) + 1)
        case callbacks.LookaheadSpec():
            return Lookahead(network, **options)
        case callbacks.MixupSpec(alpha=alpha):
            return Mixup(alpha)
        case callbacks.CutmixSpec(alpha=alpha):
            return Cutmix(alpha)
        case _:
            assert_never(spec)
