"""Builds all callbacks of a job spec, and groups them by their role in a run."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from torch import nn

from core.spec import JobSpec
from worker.builders.callbacks import make_callback
from worker.engine.averaging import Averaging
from worker.engine.callback import Callback, SaveArtifact
from worker.engine.callbacks import KeepBest, ValidationSamples
from worker.engine.mixing import BatchMixing
from worker.engine.optimizer_step import GradientClipping

T = TypeVar("T")


class Components(NamedTuple):
    """The objects that are built from the callbacks of a job spec.

    Attributes:
        callbacks: the engine callbacks, in the order of the spec.
        clipping: gradient clipping, or None if the spec does not request it.
        mixing: mixup or cutmix, or None if the spec requests neither.
        averaging: weight averaging, or None if the spec does not request it.
        keep_best: the callback that keeps the weights of the best epoch, or None. `callbacks` also contains it.
    """

    callbacks: tuple[Callback, ...]
    clipping: GradientClipping | None
    mixing: BatchMixing | None
    averaging: Averaging | None
    keep_best: KeepBest | None


def build_components(
    spec: JobSpec,
    network: nn.Module,
    loss: nn.Module,
    validation_samples: ValidationSamples,
    save_artifact: SaveArtifact,
) -> Components:
    """Build the callbacks and the other components of a run.

    If the averaged weights are validated in each epoch, callbacks that select the best epoch use the averaged weights.
    """
    averaging = _build_averaging(spec, network)
    validated = averaging.network if averaging is not None and averaging.is_ready_each_epoch else network
    components = [
        make_callback(
            callback_spec,
            validated if callback_spec.selects_best_epoch else network,
            save_artifact=save_artifact,
            validation_samples=validation_samples,
            loss=loss,
        )
        for callback_spec in spec.callbacks
        if not callback_spec.averages_weights
    ]
    return Components(
        callbacks=tuple(item for item in components if isinstance(item, Callback)),
        clipping=_find_first(GradientClipping, components),
        mixing=next((item for item in components if isinstance(item, BatchMixing)), None),
        averaging=averaging,
        keep_best=_find_first(KeepBest, components),
    )


def _build_averaging(spec: JobSpec, network: nn.Module) -> Averaging | None:
    average_spec = next((callback for callback in spec.callbacks if callback.averages_weights), None)
    average = None if average_spec is None else make_callback(average_spec, network, epochs=spec.epochs)
    return average if isinstance(average, Averaging) else None


def _find_first(kind: type[T], components: Sequence[object]) -> T | None:
    return next((item for item in components if isinstance(item, kind)), None)
