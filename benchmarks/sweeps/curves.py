"""Trains the learning curves of the simulation, and looks up or interpolates the curve of the parameters of a trial.

    .venv/bin/python -m benchmarks.sweeps.curves [--configurations 192]

It trains networks for 27 epochs on the scanned digits (306 training images, 503 for validation), with the parameters
of a quasi-random search, and writes `benchmarks/data/sweep_curves.json`. It takes ten to twenty minutes on two cores.
"""

import argparse
import dataclasses
import json
import math
import tempfile
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset
from core.spec import JobSpec
from core.sweeps.sampling import suggest_parameters
from core.sweeps.space import ChoiceParameter, Parameters, ParameterSpec
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialState
from core.sweeps.trial_spec import build_trial_spec
from core.sweeps.trials import SweepTrial
from worker.builders import build_run
from worker.engine.callback import Callback, TrainingError
from worker.engine.device import build_placement, keep_freed_memory, use_threads
from worker.engine.state import RunState

FILE = Path(__file__).parents[1] / "data" / "sweep_curves.json"
EPOCHS = 27
METRICS = ("valid_accuracy", "valid_loss")
CHANCE = {"valid_accuracy": 0.1, "valid_loss": math.log(10)}
"""The values of a network that predicts one of ten classes at random; a greater loss counts as this one."""
NUM_NEIGHBORS = 5
BASE: dict[str, Any] = {
    "dataset": {"name": "digits", "valid": 0.28, "test": 0.55},
    "architecture": {"name": "convnet", "head": [32]},
    "epochs": EPOCHS,
}
SPACE: dict[str, Any] = {
    "/optimizer": {"type": "choice", "values": [{"name": "adam"}, {"name": "sgd"}]},
    "/optimizer/lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
    "/optimizer/momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"/optimizer/name": "sgd"}},
    "/architecture/channels": {"type": "choice", "values": [[4, 8], [8, 16], [16, 32]]},
    "/architecture/dropout": {"type": "float", "low": 0.0, "high": 0.5},
    "/batch_size": {"type": "int", "low": 16, "high": 128, "step": 16},
}


def build_sweep(**fields: object) -> SweepSpec:
    """Build a sweep over the space of the stored curves."""
    return SweepSpec.model_validate({"base": BASE, "space": SPACE, **fields})


class CurveRecorder(Callback):
    """Records the metrics of every epoch."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {name: [] for name in METRICS}

    def on_epoch_end(self, state: RunState) -> None:
        for name in METRICS:
            self.values[name].append(round(state.metrics[name], 4))


def train_curve(spec: JobSpec, packed: PackedDataset) -> dict[str, list[float]]:
    """Train a job and return the metrics of its epochs. A run that diverges has a shorter curve."""
    run = build_run(spec, packed, build_placement("cpu", spec.precision, 1))
    recorder = CurveRecorder()
    run = dataclasses.replace(run, callbacks=(*run.callbacks, recorder))
    try:
        run.build_loop().fit(run.state)
    except TrainingError as error:
        print(f"ended after {len(recorder.values[METRICS[0]])} epochs: {error}", flush=True)
    return recorder.values


@lru_cache
def load_curves() -> list[dict[str, Any]]:
    """Load the stored curves: `parameters`, and the values of each metric."""
    curves: list[dict[str, Any]] = json.loads(FILE.read_text())
    return curves


@lru_cache
def _load_space() -> dict[str, ParameterSpec]:
    return dict(build_sweep().space)


def _measure_distance(parameters: Parameters, others: Parameters) -> float:
    """Return the squared distance of two trials, with each parameter scaled to the unit interval."""
    total = 0.0
    for pointer, parameter in _load_space().items():
        ours, theirs = parameters.get(pointer), others.get(pointer)
        if (ours is None) != (theirs is None):
            total += 1
        elif isinstance(parameter, ChoiceParameter):
            total += ours != theirs
        elif ours is not None:
            total += (parameter.to_unit(ours) - parameter.to_unit(theirs)) ** 2
    return total


def find_curve(parameters: Parameters) -> dict[str, Any]:
    """Return the stored curve with the nearest parameters: a surrogate for a training with any parameters."""
    return min(load_curves(), key=lambda curve: _measure_distance(parameters, curve["parameters"]))


def interpolate_curve(parameters: Parameters, metric: str) -> list[float]:
    """Return the mean curve of the `NUM_NEIGHBORS` nearest trials, weighted by their inverse squared distances.

    Unlike the nearest curve, it changes smoothly with the parameters, as the mean result of a training does. After a
    training has diverged, its values are those of chance.

    Source: Eggensperger, Hutter, Hoos and Leyton-Brown, "Efficient Benchmarking of Hyperparameter Optimizers via
    Surrogates", 2015, which compares regression models for this purpose, nearest neighbors among them.
    """
    near = sorted(
        (_measure_distance(parameters, curve["parameters"]), number) for number, curve in enumerate(load_curves())
    )
    weights = [1 / (distance + 1e-3) for distance, _ in near[:NUM_NEIGHBORS]]
    curves = [_complete_curve(load_curves()[number], metric) for _, number in near[:NUM_NEIGHBORS]]
    return [fmean(values, weights) for values in zip(*curves, strict=True)]


def _complete_curve(curve: dict[str, Any], metric: str) -> list[float]:
    chance = CHANCE[metric]
    values = [value if math.isfinite(value) else chance for value in curve[metric]]
    limited = [min(value, chance) if metric == "valid_loss" else value for value in values]
    return limited + [chance] * (EPOCHS - len(limited))


def main() -> int:
    """Train the curves and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=int, default=192)
    options = parser.parse_args()
    use_threads(1)
    keep_freed_memory()
    sweep = build_sweep(sampler={"name": "qmc"}, seed=1)
    trials, curves = list[SweepTrial](), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        pack_builtin("digits", {}, Path("/nonexistent"), Path(folder, "digits"))
        packed = PackedDataset.open(Path(folder, "digits"))
        for number in range(options.configurations):
            suggestion = suggest_parameters(sweep, trials)
            assert suggestion is not None
            trials.append(SweepTrial(number, TrialState.SUCCEEDED, suggestion.parameters))
            curve = train_curve(build_trial_spec(sweep, suggestion.parameters), packed)
            curves.append({"parameters": suggestion.parameters, **curve})
            best = max(curve["valid_accuracy"], default=math.nan)
            print(f"{number}: {best:.4f} {suggestion.parameters}", flush=True)
            FILE.parent.mkdir(exist_ok=True)
            FILE.write_text("[\n" + ",\n".join(json.dumps(each, separators=(",", ":")) for each in curves) + "\n]\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
