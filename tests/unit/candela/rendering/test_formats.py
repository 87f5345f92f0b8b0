"""Short texts: times, durations, names, bars and lines of parts."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from candela.rendering.formats import (
    fit_parts,
    format_bar,
    format_duration,
    format_eta,
    format_time,
    shorten_middle,
    sort_metrics,
    wrap_parts,
)

PARTS = st.lists(st.text("ab漢", min_size=1, max_size=30))


@pytest.fixture
def _new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_new_york")
def test_times_are_local_and_have_a_zone() -> None:
    assert format_time("2026-11-30T08:00:00Z") == "2026-11-30 03:00:00 EST"
    assert format_time("2026-07-01T08:00:00.123456+00:00") == "2026-07-01 04:00:00 EDT"


@given(name=st.text(max_size=80), width=st.integers(0, 90))
def test_a_shortened_name_fits_and_keeps_its_ends(name: str, width: int) -> None:
    short = shorten_middle(name, width)
    assert cell_len(short) <= width
    if cell_len(name) <= width:
        assert short == name
    elif width >= 5 and name.isascii() and name.isprintable():
        start, end = short.split("…") if "…" not in name else (name[:1], name[-1:])
        assert name.startswith(start)
        assert name.endswith(end)


@given(parts=PARTS, width=st.integers(1, 100))
def test_parts_fit_or_are_left_out_as_a_whole(parts: list[str], width: int) -> None:
    line = fit_parts(parts, width)
    assert cell_len(line) <= width
    assert all(part in parts for part in line.split("  ") if part)
    wrapped = wrap_parts(parts, width)
    assert "  ".join(wrapped) == "  ".join(parts)
    assert all(cell_len(line) <= width or line in parts for line in wrapped)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.4, "1:01"), (3599.6, "1:00:00"), (90_061, "25:01:01")])
def test_durations_have_hours_only_if_needed(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
    assert format_eta(seconds) == (f"{text} left" if seconds else "")


@given(completed=st.integers(-5, 200), total=st.integers(0, 100), width=st.integers(0, 50))
def test_a_bar_has_its_width(completed: int, total: int, width: int) -> None:
    bar = format_bar(completed, total, width).plain
    assert len(bar) == width
    assert (bar == "━" * width) == (width == 0 or (total > 0 and completed >= total))


def test_validation_scores_are_the_most_important_metrics() -> None:
    names = ["train_loss", "lr", "train_accuracy", "valid_loss", "test_accuracy", "valid_accuracy"]
    expected = ["valid_accuracy", "valid_loss", "test_accuracy", "train_accuracy", "train_loss", "lr"]
    assert sort_metrics(names) == expected
