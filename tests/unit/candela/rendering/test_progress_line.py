"""The line of a job that trains: it always fits, and no value is cut."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candela.rendering.formats import format_metric
from candela.rendering.progress_line import ProgressLine
from tests.support.job_responses import IDS, METRICS, NAMES, STATES, build_progress

METRIC = {"valid_accuracy": 0.98765, "valid_loss": 0.0123, "train_loss": 0.5}
PROGRESS = {"epoch": 12, "epochs": 30, "step": 400, "steps": 1000, "eta_seconds": 83.0}


def build_line(job: tuple[str, str] | None = None) -> ProgressLine:
    line = ProgressLine(job)
    line.update(PROGRESS, METRIC)
    line.set_state("running")
    return line


@given(
    job=st.one_of(st.none(), st.tuples(NAMES, IDS)),
    progress=build_progress(),
    metrics=METRICS,
    state=st.sampled_from(STATES),
    width=st.integers(20, 220),
)
def test_a_line_fits_and_no_value_is_cut(
    job: tuple[str, str] | None, progress: dict[str, Any], metrics: dict[str, Any], state: str, width: int
) -> None:
    line = ProgressLine(job)
    line.update(progress, metrics)
    line.set_state(state)
    for text in (line.render(width), line.format_plain(width)):
        assert (text if isinstance(text, str) else text.plain) == str(text)
        assert len(str(text)) <= width
        parts = re.split(r" {2,}", str(text).strip())[1 if job else 0 :]
        allowed = {state, "", f"epoch {progress.get('epoch')}/{progress.get('epochs')}"}
        allowed |= {format_metric(name, value) for name, value in metrics.items()}
        rest = [part for part in parts if part not in allowed and not re.fullmatch(r"[━─]+|[\d:]+ left", part)]
        assert rest == []


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (60, "━━━━────────  epoch 12/30  1:23 left  valid_accuracy 0.9877"),
        (80, "━━━━━━──────────  epoch 12/30  1:23 left  valid_accuracy 0.9877  train_loss 0.5"),
        (120, f"{'━' * 9}{'─' * 15}  epoch 12/30  1:23 left  valid_accuracy 0.9877  valid_loss 0.0123  train_loss 0.5"),
        (35, "epoch 12/30  1:23 left"),
    ],
)
def test_bar_epoch_and_remaining_time_come_first(width: int, expected: str) -> None:
    assert build_line().render(width).plain == expected


def test_a_line_of_several_jobs_starts_with_name_and_id() -> None:
    line = build_line(("a-very-long-name-of-an-experiment", "a1" * 16)).render(80).plain
    assert line.startswith("a-very…riment a1a1a1a1  ━")
    assert "epoch 12/30  1:23 left" in line


def test_names_of_several_jobs_are_filled_up_to_the_longest() -> None:
    lines = [ProgressLine((name, "a1" * 16), name_width=17) for name in ("short", "a-long-name-of-17")]
    assert [line.render(120).plain for line in lines] == [
        "short             a1a1a1a1  waiting",
        "a-long-name-of-17 a1a1a1a1  waiting",
    ]
    assert {line.render(60).plain.index("a1a1a1a1") for line in lines} == {11}


def test_validation_metrics_stay_during_the_next_epoch() -> None:
    line = build_line()
    line.update(PROGRESS | {"epoch": 13}, {"train_loss": 0.4})
    assert "valid_accuracy 0.9877" in line.render(120).plain
    assert "train_loss 0.4" in line.render(120).plain


def test_a_finished_job_shows_its_state_and_no_remaining_time() -> None:
    line = build_line()
    line.set_state("succeeded")
    assert "  succeeded  epoch 12/30  valid" in line.render(80).plain
    assert "left" not in line.render(80).plain


def test_a_job_that_waits_shows_its_state() -> None:
    line = ProgressLine()
    line.set_state("queued")
    assert line.render(80).plain == "queued"
