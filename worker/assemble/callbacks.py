"""From a callback in words to what watches the run."""

from typing import assert_never

from torch import nn

from core.spec import callbacks
from worker.engine.callback import Callback
from worker.engine.callbacks import EarlyStopping, KeepBest, ModelCheckpoint, TimeLimit
from worker.engine.steps import Clip


def make_callback(spec: callbacks.CallbackSpec, network: nn.Module) -> Callback | Clip:
    """What watches the run; clipping changes the maths and is therefore part of the step."""
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
        case _:
            assert_never(spec)
