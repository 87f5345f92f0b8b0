"""Measures how many epochs schedulers save and what they find, TPE against random trials, and the time of a suggestion.

    .venv/bin/python -m benchmarks.sweeps [--seeds 5] [--sampler-seeds 10]

Trials are simulated with the stored curves of `benchmarks.sweeps.curves`: the curve with the nearest parameters stands
for a training. Four trials run at a time, and each has a different speed. TPE is also compared on curves that are
interpolated between the nearest ones.
"""

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from scipy.stats import mannwhitneyu, wilcoxon

from benchmarks.sweeps.curves import METRICS, build_sweep, find_curve, interpolate_curve
from benchmarks.sweeps.simulation import Curve, SimulationResult, simulate_sweep
from core.sweeps.sampling import suggest_parameters
from core.sweeps.space import Parameters
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialState
from core.sweeps.trial_spec import choose_parameters
from core.sweeps.trials import SweepTrial, compute_score

NUM_TRIALS = 27
SCHEDULERS: dict[str, dict[str, Any]] = {
    "asha": {"name": "asha"},
    "asha, min_epochs 2": {"name": "asha", "min_epochs": 2},
    "hyperband": {"name": "hyperband"},
    "median": {"name": "median"},
}


class Comparison(NamedTuple):
    """A scheduler against training every trial for all epochs.

    Attributes:
        epochs: the epochs that it trained, as a share.
        gap: how much worse its best score is, as a share of the best score of all trials.
        duration: the simulated time, as a share.
        num_snapshots: the largest number of paused trials.
    """

    epochs: float
    gap: float
    duration: float
    num_snapshots: int


def build_curve(metric: str) -> Curve:
    """Return a function that looks up the values of a metric of the nearest curve."""

    def get_values(parameters: Parameters) -> Mapping[int, float]:
        return dict(enumerate(find_curve(parameters)[metric], start=1))

    return get_values


def build_smooth_curve(metric: str) -> Curve:
    """Return a function that interpolates the values of a metric."""

    def get_values(parameters: Parameters) -> Mapping[int, float]:
        return dict(enumerate(interpolate_curve(parameters, metric), start=1))

    return get_values


CURVES: dict[str, Callable[[str], Curve]] = {"nearest": build_curve, "interpolated": build_smooth_curve}


def find_best_score(sweep: SweepSpec, result: SimulationResult, curve: Curve) -> float:
    """Return the best score of a trial, after the epochs that it trained."""
    scores = [compute_score(curve(trial.parameters), sweep.objective, trial.epochs) for trial in result.trials]
    finite = [score for score in scores if score == score]  # without NaN
    return min(finite) if sweep.objective.direction == "min" else max(finite)


def compare_scheduler(scheduler: Mapping[str, Any], metric: str, seed: int) -> Comparison:
    """Run a sweep with a scheduler and one without, over the same trials."""
    curve = build_curve(metric)
    fields = {
        "sampler": "random",
        "objective": {"metric": metric},
        "budget": {"trials": NUM_TRIALS},
        "parallel": 4,
        "seed": seed,
    }
    sweep = build_sweep(scheduler=scheduler, **fields)
    result, full = simulate_sweep(sweep, curve), simulate_sweep(build_sweep(**fields), curve)
    assert [trial.parameters for trial in result.trials] == [trial.parameters for trial in full.trials]
    best, target = find_best_score(sweep, result, curve), find_best_score(sweep, full, curve)
    return Comparison(
        result.num_epochs / full.num_epochs,
        abs(best - target) / abs(target),
        result.duration / full.duration,
        result.max_snapshots,
    )


def print_schedulers(num_seeds: int) -> None:
    """Print a row for each scheduler and metric: minimum, median and maximum over the seeds."""
    print(
        "| scheduler | objective | epochs | gap of the best score | time | paused trials |\n|---|---|--:|--:|--:|--:|"
    )
    for name, scheduler in SCHEDULERS.items():
        for metric in METRICS:
            runs = [compare_scheduler(scheduler, metric, seed) for seed in range(num_seeds)]
            cells = [_format_percent([getattr(run, field) for run in runs]) for field in ("epochs", "gap", "duration")]
            print(f"| {name} | {metric} | {' | '.join(cells)} | {max(run.num_snapshots for run in runs)} |", flush=True)


def _format_percent(values: list[float]) -> str:
    return " / ".join(f"{100 * value:.1f}" for value in (min(values), statistics.median(values), max(values))) + " %"


def print_samplers(num_seeds: int, num_trials: int = 30) -> None:
    """Print the best score of TPE and of random trials, trained for all epochs."""
    print(
        "| curves | objective | TPE: min / median / max | random: min / median / max | p (paired) | p (unpaired) |\n"
        "|---|---|--:|--:|--:|--:|"
    )
    for kind, metric in itertools.product(CURVES, METRICS):
        curve, best = CURVES[kind](metric), dict[str, list[float]]()
        for name in ("tpe", "random"):
            for seed in range(num_seeds):
                fields = {"objective": {"metric": metric}, "budget": {"trials": num_trials}, "seed": seed}
                sweep = build_sweep(sampler=name, **fields)
                best.setdefault(name, []).append(find_best_score(sweep, simulate_sweep(sweep, curve), curve))
        side = "greater" if metric == "valid_accuracy" else "less"
        paired = wilcoxon(best["tpe"], best["random"], alternative=side).pvalue
        unpaired = mannwhitneyu(best["tpe"], best["random"], alternative=side).pvalue
        cells = [
            " / ".join(f"{value:.4f}" for value in (min(values), statistics.median(values), max(values)))
            for values in best.values()
        ]
        print(f"| {kind} | {metric} | {' | '.join(cells)} | {paired:.4f} | {unpaired:.4f} |", flush=True)


def build_trials(sweep: SweepSpec, count: int) -> list[SweepTrial]:
    """Build trials with random parameters and scores, of which one of nine is complete."""
    generator, trials = random.Random(count), list[SweepTrial]()
    for number in range(count):
        parameters = choose_parameters(sweep, lambda _, each: each.from_unit(generator.random()))
        is_complete = number % 9 == 0
        scores = {epochs: generator.random() for epochs in ((1, 3, 9, 27) if is_complete else (1,))}
        state = TrialState.SUCCEEDED if is_complete else TrialState.PAUSED
        trials.append(SweepTrial(number, state, parameters, scores, max(scores)))
    return trials


def print_suggestion_times(rounds: int = 5) -> None:
    """Print the time of a suggestion of TPE after many trials, of which one of nine is complete."""
    print("| trials | CPU s: min / median / max | wall clock s: min / median / max |\n|--:|--:|--:|")
    sweep = build_sweep(sampler="tpe", scheduler="asha")
    suggest_parameters(sweep, [])  # imports Optuna
    for count in (50, 500, 2000):
        trials = build_trials(sweep, count)
        cpu, wall = list[float](), list[float]()
        for _ in range(rounds):
            started_at, computed = time.perf_counter(), time.process_time()
            suggest_parameters(sweep, trials)
            wall.append(time.perf_counter() - started_at)
            cpu.append(time.process_time() - computed)
        cells = [" / ".join(f"{each:.3f}" for each in (min(v), statistics.median(v), max(v))) for v in (cpu, wall)]
        print(f"| {count} | {cells[0]} | {cells[1]} |", flush=True)


def main() -> int:
    """Run the three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each scheduler")
    parser.add_argument("--sampler-seeds", type=int, default=10, help="seeds of TPE and random trials")
    options = parser.parse_args()
    print_schedulers(options.seeds)
    print_samplers(options.sampler_seeds)
    print_suggestion_times()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
