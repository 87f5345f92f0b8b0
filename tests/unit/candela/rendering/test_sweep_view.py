"""Sweeps in a terminal of 80 columns."""

import io
from typing import Any

import pytest
from rich.console import Console

from candela.rendering import terminal
from candela.rendering.sweep_view import (
    build_sweep_view,
    build_trial_table,
    format_best,
    print_importance,
    print_plan,
    print_sweeps,
)
from tests.support.sweep_responses import build_sweep_details, build_sweep_response, build_trial_response

WIDTH = 80


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed in a terminal of 80 columns."""
    stream = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=stream, width=WIDTH, highlight=False))
    return stream


def render(renderable: Any, width: int = WIDTH) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False).print(renderable)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_the_view_has_the_best_trial_the_rungs_and_the_newest_trials() -> None:
    trials: Any = [build_trial_response(11), build_trial_response(10, state="failed", reason="diverged")]
    lines = render(build_sweep_view(build_sweep_details(), trials, WIDTH))  # type: ignore[arg-type]
    assert lines == [
        "running  digits-lr  5e5e5e5e  6:00",
        "trials 12/60  epochs 40  hours 0.1/4  4 running  5 paused  2 stopped  1 failed",
        "best valid_accuracy 0.9725  trial 7  lr=0.004213  channels=[16, 32]  name=sgd",
        "EPOCHS  REACHED  BEST",
        "1       9/12     0.8   ━━━━━━━━━━━━━━━─────",
        "3       2/3      0.95  ━━━─────────────────",
        "9       0/1      -     ────────────────────",
        "TRIAL  STATE    EPOCHS  SCORE  PARAMETERS",
        "11     running  3       -      lr=0.004213  channels=[16, 32]",
        "10     failed   3       -      diverged  lr=0.004213  name=sgd",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_view_fits_the_terminal(width: int) -> None:
    sweep: Any = build_sweep_details(name="a" * 63, finish_reason="budget.trials")
    trials: Any = [build_trial_response(number, best_score=0.123456789) for number in (10_000, 9_999)]
    assert max(len(line) for line in render(build_sweep_view(sweep, trials, width), width=1000)) <= width


def test_a_sweep_without_a_score_says_so() -> None:
    sweep: Any = build_sweep_response(best=None)
    assert format_best(sweep, WIDTH) == "no valid_accuracy yet"


def test_parameters_of_equal_names_are_shown_as_pointers() -> None:
    trial: Any = build_trial_response(1, parameters={"/optimizer/lr": 0.1, "/schedule/lr": 2, "/seed": 3})
    assert render(build_trial_table([trial], 200))[1].endswith("/optimizer/lr=0.1  /schedule/lr=2  seed=3")


def test_a_list_fits_the_terminal(out: io.StringIO) -> None:
    sweeps: Any = [build_sweep_response(name="a" * 63), build_sweep_response(best=None)]
    print_sweeps(sweeps)
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATE", "TRIALS", "EPOCHS", "BEST", "TIME"]
    assert lines[1].split()[3:] == ["12/60", "40", "0.9725", "6:00"]
    assert max(map(len, lines)) <= WIDTH


def test_importances_have_their_deviation(out: io.StringIO) -> None:
    report: Any = {
        "epochs": 9,
        "num_trials": 27,
        "explained": 0.61,
        "parameters": [{"pointer": "/optimizer/lr", "importance": 0.75, "deviation": 0.05}],
    }
    print_importance(report)
    assert "/optimizer/lr  0.75        ± 0.05  ━━━━━━━━━━━━━━━─────" in out.getvalue()
    assert "27 trials after 9 epochs; explained variance 0.61" in out.getvalue()
    print_importance(report | {"parameters": []})
    assert "fewer than 10 trials have a score" in out.getvalue()


def test_a_plan_has_the_trials_and_the_costs(out: io.StringIO) -> None:
    errors = [{"pointer": "/base/batch_size", "detail": "is too large"}]
    trials = [{"number": 0, "parameters": {"/optimizer/lr": 0.1}, "errors": errors}]
    estimate: dict[str, float | None] = {"trials": 60, "epochs": 220, "hours": 0.5, "disk_bytes": 1_500_000}
    print_plan({"spec": {}, "trials": trials, "estimate": estimate})
    assert out.getvalue().splitlines() == [
        "trial 0: lr=0.1",
        "  /base/batch_size: is too large",
        "valid: 60 trials, 220 epochs, about 30:00, 1.5 MB",
    ]
