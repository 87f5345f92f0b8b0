"""What the serving benchmark computes from its measurements; nothing is measured here."""

import pytest

from benchmarks.serving.arithmetic import Row, Spread, keeps, percentile, ratios, table, with_section
from benchmarks.serving.load import of_words


def test_a_ratio_is_taken_within_a_round() -> None:
    spread = ratios([10, 40, 90], [10, 20, 30])
    assert (spread.low, spread.middle, spread.high) == (1, 2, 3)


def test_sides_with_other_numbers_of_rounds_are_not_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0, 2.0], [1.0])


def test_a_side_that_answered_nothing_is_not_divided_by() -> None:
    with pytest.raises(ValueError, match="measured as 0"):
        ratios([1.0], [0.0])


def test_half_the_solo_rate_beside_one_other_is_the_whole_fair_share() -> None:
    assert keeps([50, 25], [100, 100], 2).values == (1.0, 0.5)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1), (0.501, 51)])
def test_a_percentile_is_the_value_of_the_nearest_rank(share: float, value: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == value


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@pytest.mark.parametrize(
    ("values", "better", "verdict"),
    [
        ((1.0, 3.0, 9.0), "higher", "must"),
        ((1.0, 2.9, 9.0), "higher", "missed"),
        ((1.0, 6.0, 9.0), "higher", "moonshot"),
        ((1.0, 6.0, 9.0), "lower", "missed"),
    ],
)
def test_a_verdict_is_by_the_median(values: tuple[float, ...], better: str, verdict: str) -> None:
    must, moonshot = (3.0, 6.0) if better == "higher" else (2.0, 1.5)
    row = Row("rate", Spread(values), must, moonshot, "lower" if better == "lower" else "higher")
    assert row.verdict == verdict


def test_no_failure_is_what_must_be_and_the_best_there_is() -> None:
    assert Row("failed", Spread((0.0, 0.0)), 0, 0, "lower").verdict == "moonshot"
    assert Row("failed", Spread((1.0, 1.0)), 0, 0, "lower").verdict == "missed"


def test_a_table_shows_what_was_measured_beside_the_targets() -> None:
    lines = table(
        [Row("over a peer", Spread((1.234, 2.0, 1234.5)), 1.5, 2.5), Row("told", Spread((0.0,)))]
    ).splitlines()
    assert lines[2] == "| over a peer | 1.23 **2** 1234 | 1.5 | 2.5 | must |"
    assert lines[3] == "| told | 0 **0** 0 |  |  |  |"


def test_a_section_is_replaced_and_its_neighbours_stay() -> None:
    text = "# Results\n\n## a\n\nold\n\n## b\n\nkept\n"
    assert with_section(text, "## a", "new") == "# Results\n\n## a\n\nnew\n\n## b\n\nkept\n"
    assert with_section(text, "## c", "new") == f"{text}\n## c\n\nnew\n"
    assert with_section(with_section(text, "## b", r"\1 new"), "## b", "newer").endswith("## b\n\nnewer\n")


def test_answers_that_failed_are_no_part_of_the_rate() -> None:
    words = {"answers": 1000, "failed": 100, "broken": 3, "duration": 2e6, "p50": 1500.0, "p99": 9000.0}
    load = of_words(words)
    assert (load.rate, load.p50_ms, load.p99_ms, load.num_failed) == (450, 1.5, 9, 103)
