"""Builds the job specs of a trial: trainings that pause at its milestones and register no model version."""

from core.spec import JobSpec
from core.spec.job import ResumeFromSpec
from core.spec.milestones import MilestonesSpec
from core.sweeps.milestones import get_milestones
from core.sweeps.space import Parameters
from core.sweeps.spec import SweepSpec
from core.sweeps.trial_spec import build_trial_spec

PRIORITY = -10
"""The priority of the jobs of trials in the queue: jobs that clients submit come first."""
MAX_NAME = 63


def build_trial_jobs(
    sweep: SweepSpec, parameters: Parameters, *, name: str, model: str, number: int, first_epoch: int = 0
) -> list[JobSpec]:
    """Return the spec of each repeat of a trial.

    Args:
        sweep: the sweep.
        parameters: the values, keyed by JSON pointer.
        name: the name of the sweep.
        model: the name of the model of which the best trial becomes a version.
        number: the number of the trial.
        first_epoch: the epochs of the checkpoint from which the trial continues. Milestones up to it are omitted.

    Raises:
        InvalidSpec: the parameters cannot be applied, or the job spec refuses a value.
    """
    milestones = tuple(epoch for epoch in get_milestones(sweep, number)[:-1] if epoch > first_epoch)
    changes = {
        "model": model,
        "milestones": MilestonesSpec(epochs=milestones) if milestones else None,
        "should_register": False,
    }
    specs = [build_trial_spec(sweep, parameters, number=number, repeat=repeat) for repeat in range(sweep.repeats)]
    return [
        spec.model_copy(update={"name": format_job_name(name, number, repeat, sweep.repeats), **changes})
        for repeat, spec in enumerate(specs)
    ]


def format_job_name(sweep: str, number: int, repeat: int, num_repeats: int) -> str:
    """Return the name of a job, for example `digits-lr-t0007`, or `digits-lr-t0007-r1` if trials have repeats."""
    suffix = f"-t{number:04}" + (f"-r{repeat}" if num_repeats > 1 else "")
    return sweep[: MAX_NAME - len(suffix)] + suffix


def continue_checkpoint(spec: JobSpec, parent: JobSpec, job_id: str, checkpoint: int) -> JobSpec:
    """Return the spec of a copy that continues the weights, the optimizer and the metrics of another trial.

    The state of the optimizer is new if the copy has another optimizer or other parameter groups.
    """
    is_same = _describe_optimizer(spec) == _describe_optimizer(parent)
    source = ResumeFromSpec(job=job_id, checkpoint=checkpoint, optimizer=is_same, callbacks=is_same, records=True)
    return spec.model_copy(update={"resume_from": source, "init_from": None, "weights": None})


def _describe_optimizer(spec: JobSpec) -> list[object]:
    """Return what must be equal so that the state of an optimizer can be restored."""
    optimizer = spec.optimizer.model_dump(mode="json")
    parts = [(part["match"], part["optimizer"]["name"]) for part in optimizer.get("parts", ())]
    groups = [(group["match"], group["weight_decay"] is None) for group in optimizer.get("groups", ())]
    return [optimizer["name"], parts, groups, optimizer.get("decay_norms_and_biases"), spec.freeze]
