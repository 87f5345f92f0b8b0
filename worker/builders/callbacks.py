"""From a callback in words to what watches the run."""

from typing import assert_never

from torch import nn

from core.spec import callbacks
from worker.engine.averaging import Averaging, Ema, Lookahead, Swa
from worker.engine.callback import Callback, Leave, noop
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
from worker.engine.steps import Clip

NOTHING = ValidationSamples()
AVERAGES = (callbacks.EmaSpec, callbacks.SwaSpec, callbacks.LookaheadSpec)


def make_callback(
    spec: callbacks.CallbackSpec,
    network: nn.Module,
    *,
    epochs: int = 1,
    leave: Leave = noop,
    watched: ValidationSamples = NOTHING,
    loss: nn.Module | None = None,
) -> Callback | Clip | Averaging | BatchMixing:
    """What watches the run; what changes the maths (clipping, mixing, averaging) is part of the step instead."""
    given = spec.model_dump(exclude={"name"})
    match spec:
        case callbacks.EarlyStoppingSpec():
            return EarlyStopping(**given)
        case callbacks.ModelCheckpointSpec():
            return ModelCheckpoint(**given)
        case callbacks.KeepBestSpec():
            return KeepBest(network, **given)
        case callbacks.TimeLimitSpec():
            return TimeLimit(**given)
        case callbacks.GradientClipSpec():
            return Clip(**given)
        case callbacks.FreezeSpec():
            return Freeze(network, **given)
        case callbacks.EmaSpec():
            return Ema(network, **given)
        case callbacks.SwaSpec(start=start):
            return Swa(network, start_epoch=int(start * epochs) + 1)
        case callbacks.LookaheadSpec():
            return Lookahead(network, **given)
        case callbacks.MixupSpec(alpha=alpha):
            return Mixup(alpha)
        case callbacks.CutmixSpec(alpha=alpha):
            return Cutmix(alpha)
        case callbacks.CsvLoggerSpec():
            return CsvLogger(leave)
        case callbacks.TensorBoardSpec():
            return TensorBoard(network, leave, **given)
        case callbacks.ConfusionMatrixCallbackSpec():
            return ConfusionMatrix(watched, leave)
        case callbacks.WorstSamplesSpec():
            return WorstSamples(watched, loss or nn.CrossEntropyLoss(), leave, **given)
        case callbacks.BatchSizeFinderSpec():
            return Callback()  # its work is done before the run is built
        case _:
            assert_never(spec)
