"""The calculations of the serving benchmark."""

import pytest

from benchmarks.serving.arithmetic import (
    Row,
    Spread,
    compute_fair_share,
    compute_percentile,
    compute_ratios,
    format_table,
    replace_section,
)
from benchmarks.serving.load import parse_summary


def test_ratios_compare_sides_of_the_same_round() -> None:
    spread = compute_ratios([10, 40, 90], [10, 20, 30])
    assert (spread.low, spread.middle, spread.high) == (1, 2, 3)


def test_sides_with_different_numbers_of_rounds_raise_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        compute_ratios([1.0, 2.0], [1.0])


def test_a_divisor_of_zero_raises_an_error() -> None:
    with pytest.raises(ValueError, match="measured as 0"):
        compute_ratios([1.0], [0.0])


def test_half_the_rate_alone_is_the_fair_share_of_two() -> None:
    assert compute_fair_share([50, 25], [100, 100], 2).values == (1.0, 0.5)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1), (0.501, 51)])
def test_a_percentile_is_the_value_of_the_nearest_rank(share: float, value: float) -> None:
    assert compute_percentile([float(number) for number in range(100, 0, -1)], share) == value


def test_a_percentile_requires_values() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        compute_percentile([], 0.5)


@pytest.mark.parametrize(
    ("values", "better", "verdict"),
    [
        ((1.0, 3.0, 9.0), "higher", "must"),
        ((1.0, 2.9, 9.0), "higher", "missed"),
        ((1.0, 6.0, 9.0), "higher", "moonshot"),
        ((1.0, 6.0, 9.0), "lower", "missed"),
    ],
)
def test_the_verdict_uses_the_median(values: tuple[float, ...], better: str, verdict: str) -> None:
    must, moonshot = (3.0, 6.0) if better == "higher" else (2.0, 1.5)
    row = Row("rate", Spread(values), must, moonshot, "lower" if better == "lower" else "higher")
    assert row.verdict == verdict


def test_a_target_of_zero_requires_no_failures() -> None:
    assert Row("failed", Spread((0.0, 0.0)), 0, 0, "lower").verdict == "moonshot"
    assert Row("failed", Spread((1.0, 1.0)), 0, 0, "lower").verdict == "missed"


def test_a_table_has_measurements_and_targets() -> None:
    lines = format_table(
        [Row("over a peer", Spread((1.234, 2.0, 1234.5)), 1.5, 2.5), Row("no target", Spread((0.0,)))]
    ).splitlines()
    assert lines[2] == "| over a peer | 1.23 **2** 1234 | 1.5 | 2.5 | must |"
    assert lines[3] == "| no target | 0 **0** 0 |  |  |  |"


def test_replacing_a_section_keeps_the_others() -> None:
    text = "# Results\n\n## a\n\nold\n\n## b\n\nsame\n"
    assert replace_section(text, "## a", "new") == "# Results\n\n## a\n\nnew\n\n## b\n\nsame\n"
    assert replace_section(text, "## c", "new") == f"{text}\n## c\n\nnew\n"
    assert replace_section(replace_section(text, "## b", r"\1 new"), "## b", "newer").endswith("## b\n\nnewer\n")


def test_the_rate_excludes_failed_responses() -> None:
    summary = {"responses": 1000, "failed": 100, "broken": 3, "duration": 2e6, "p50": 1500.0, "p99": 9000.0}
    load = parse_summary(summary)
    assert (load.rate, load.p50_ms, load.p99_ms, load.num_failed) == (450, 1.5, 9, 103)
