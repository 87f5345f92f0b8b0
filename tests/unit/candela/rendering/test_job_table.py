"""Tables of jobs: every line fits, and no value is cut."""

import io
import re
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from candela.jobs import Job
from candela.rendering import terminal
from candela.rendering.formats import format_number, shorten_middle
from candela.rendering.job_table import print_jobs
from candela.transport import Transport
from tests.support.job_responses import build_job_response

WIDTHS = st.one_of(st.sampled_from([60, 80, 120, 200]), st.integers(20, 220))


def print_text(responses: Sequence[dict[str, Any]], width: int, first_metric: str | None = None) -> list[str]:
    """Return the lines of the table."""
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, "console", Console(file=text, width=width, highlight=False))
        jobs = [Job(cast("Transport", None), cast("Any", response)) for response in responses]
        print_jobs(jobs, first_metric=first_metric)
    return text.getvalue().splitlines()


def build_job(**changes: Any) -> dict[str, Any]:
    progress = {"epoch": 3, "epochs": 10, "step": 30, "steps": 100, "eta_seconds": 83.0}
    metrics = {"train_loss": 0.123456, "valid_loss": 0.0123456, "valid_accuracy": 0.98765, "train_accuracy": 0.5}
    fields = {"id": "a1" * 16, "name": "digits", "state": "running", "progress": progress, "metrics": metrics}
    return {"created_at": "2026-11-30T08:00:00Z", "duration_s": None, **fields, **changes}


@given(responses=st.lists(build_job_response(), min_size=1, max_size=5), width=WIDTHS)
@settings(deadline=None)
def test_every_line_fits_and_no_number_is_cut(responses: list[dict[str, Any]], width: int) -> None:
    lines = print_text(responses, width)
    assert max(map(cell_len, lines)) <= width
    rows = lines[-len(responses) :]
    allowed = {"", "-", "left"}
    for response, row in zip(responses, rows, strict=True):
        cells = set(re.split(r" {2,}", row.strip()))
        progress = response["progress"]
        values = {format_number(float(value)) for value in response["metrics"].values()}
        texts = {response["state"], f"{progress.get('epoch')}/{progress.get('epochs')}", *values}
        names = {shorten_middle(response["name"], length) for length in range(3, 64)}
        unknown = cells - allowed - texts - names - {response["id"][:length] for length in range(8, 33)}
        rest = {text for text in unknown if not re.fullmatch(r"[━─]+|[\d:]+( left)?|[\d: -]+ \S+", text)}
        assert not rest, row


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_bar_epoch_and_time_come_before_the_metrics(width: int) -> None:
    heading, row = print_text([build_job()], width)[-2:]
    assert heading.split()[:6] == ["ID", "NAME", "STATE", "PROGRESS", "EPOCH", "TIME"]
    assert row.split()[:8] == ["a1a1a1a1", "digits", "running", "━━──────", "3/10", "1:23", "left"] + (
        ["0.9877"] if width > 60 else row.split()[7:8]
    )


def test_a_wider_terminal_shows_more_metrics_and_the_time() -> None:
    shown = [set(print_text([build_job()], width)[-1].split()) for width in (60, 80, 120, 200)]
    assert shown[0] < shown[1] < shown[2] | {"11-30", "08:00"}
    assert {"0.9877", "0.01235", "0.5", "0.1235"} <= shown[3]


def test_the_metric_of_the_order_comes_first() -> None:
    row = print_text([build_job()], 80, first_metric="train_loss")[-1]
    assert row.split()[7] == "0.1235"


def test_a_long_name_is_shortened_in_the_middle() -> None:
    row = print_text([build_job(name="a-very-long-name-of-an-experiment-17")], 80)[-1]
    assert re.search(r" a-ver\S*…\S*t-17 ", row)


def test_ids_with_the_same_prefix_are_printed_differently() -> None:
    rows = print_text([build_job(id="a" * 31 + "0"), build_job(id="a" * 31 + "1")], 80)[-2:]
    assert rows[0].split()[0] != rows[1].split()[0]


def test_without_a_limit_everything_is_complete() -> None:
    name = "a-very-long-name-of-an-experiment-" * 2
    heading, row = print_text([build_job(name=name, state="succeeded", duration_s=61.4)], terminal.UNLIMITED_WIDTH)
    assert row.split()[:5] == ["a1" * 16, name, "succeeded", "3/10", "1:01"]
    assert heading.split()[5:] == ["valid_accuracy", "valid_loss", "train_accuracy", "train_loss", "CREATED"]
    assert not row.endswith(" ")


def test_no_jobs_are_one_line() -> None:
    assert print_text([], 80) == ["no jobs"]
