"""Builds the temporary run in which learning rates or batch sizes are tested."""

from core.datasets.packed import PackedDataset
from core.spec import JobSpec, TrainingSpec
from worker.builders.run import build_run
from worker.engine.device import Placement
from worker.engine.run import Run
from worker.engine.transfer import Weights


def build_finder_run(
    spec: TrainingSpec, packed: PackedDataset, placement: Placement, initial_weights: Weights | None
) -> Run:
    """Build a temporary run with a separate network. The caller discards both after the test.

    Raises:
        InvalidSpec: parts of the spec are not compatible with each other or with the dataset.
    """
    return build_run(build_finder_spec(spec), packed, placement, initial_weights)


def build_finder_spec(spec: TrainingSpec) -> JobSpec:
    """Return a training spec without schedule and metrics, and with only the callbacks that change training steps."""
    step_callbacks = tuple(callback for callback in spec.callbacks if callback.changes_steps)
    return JobSpec(**spec.get_shared_arguments() | {"schedule": None, "callbacks": step_callbacks, "metrics": ()})
