"""Builds the run on which tuning tests learning rates or batch sizes."""

from core.datasets.packed import PackedDataset
from core.spec import JobSpec, TrainingSpec
from worker.builders.run import build_run
from worker.engine.device import Placement
from worker.engine.run import Run
from worker.engine.transfer import Weights


def build_sweep_run(
    spec: TrainingSpec, packed: PackedDataset, placement: Placement, initial_weights: Weights | None
) -> Run:
    """Build a run with a separate network, which tuning makes unusable.

    Raises:
        InvalidSpec: the parts of the spec do not fit each other or the dataset.
    """
    return build_run(build_sweep_spec(spec), packed, placement, initial_weights)


def build_sweep_spec(spec: TrainingSpec) -> JobSpec:
    """Return the job's training without schedule, metrics, and callbacks that do not change its steps."""
    shared = {name: getattr(spec, name) for name in TrainingSpec.model_fields if name != "kind"}
    step_callbacks = tuple(callback for callback in spec.callbacks if callback.changes_steps)
    return JobSpec(**shared | {"schedule": None, "callbacks": step_callbacks, "metrics": ()})
