"""Describes a run for the job's `runtime` field."""

from typing import Any

from torch import nn

from worker.engine.run import Run
from worker.protocol import Start


def describe_run(run: Run, start: Start) -> dict[str, Any]:
    """Return the sizes of the run, the step from which it resumes, and the report on the initial weights."""
    trainable = sum(parameter.numel() for parameter in run.network.parameters() if parameter.requires_grad)
    initial_weights = {} if run.load_report is None else {"init": run.load_report._asdict()}
    return {
        "num_parameters": count_parameters(run.network),
        "num_trainable_parameters": trainable,
        "splits": count_samples(run),
        "steps_per_epoch": run.state.steps_per_epoch,
        "resumed_from_step": None if start.resume_dir is None else run.state.step,
        **initial_weights,
    }


def count_samples(run: Run) -> dict[str, int]:
    """Return the number of samples of each split that the run reads."""
    batches = {"train": run.train_batches, "valid": run.valid_batches, "test": run.test_batches}
    return {split: len(source.sample_index) for split, source in batches.items() if source is not None}


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
