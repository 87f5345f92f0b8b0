"""Each cell of a confusion matrix keeps the samples with the highest confidence."""

from collections import defaultdict

import numpy as np
import pytest
import torch

from worker.engine import confusion_cells
from worker.engine.confusion_cells import MAX_CELL_SAMPLES, CellSampleSelector
from worker.engine.evaluation import Decisions

Row = tuple[int, int, int, int]


def make_decisions(count: int, num_classes: int, seed: int = 0) -> Decisions:
    random = np.random.default_rng(seed)
    truth, predicted = random.integers(0, num_classes, (2, count))
    confidence = random.integers(0, 50, count) / 50  # with ties
    return Decisions(torch.tensor(truth), torch.tensor(predicted), torch.tensor(confidence))


def select_naively(decisions: Decisions, num_tables: int) -> list[Row]:
    """Return (table, truth, predicted, place) of the first samples of each cell."""
    cells: dict[tuple[int, int, int], list[tuple[float, int]]] = defaultdict(list)
    rows = zip(*(values.tolist() for values in decisions), strict=True)
    for position, (truth, predicted, confidence) in enumerate(rows):
        cells[position % num_tables, truth, predicted].append((-confidence, position // num_tables))
    return [(*cell, place) for cell in sorted(cells) for _, place in sorted(cells[cell])[:MAX_CELL_SAMPLES]]


@pytest.mark.parametrize(("num_tables", "max_buffered"), [(1, 500_000), (1, 100), (3, 100)])
def test_batches_give_the_same_samples_as_all_decisions_at_once(
    num_tables: int, max_buffered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confusion_cells, "MIN_BUFFERED", max_buffered)
    decisions = make_decisions(3000, 3)
    selector = CellSampleSelector(3, num_tables)
    for start in range(0, 3000, 60):
        selector.update(Decisions(*(values[start : start + 60] for values in decisions)))
    chosen = selector.select()
    found = list(zip(*(chosen[name].tolist() for name in ("table", "truth", "predicted", "place")), strict=True))
    assert found == select_naively(decisions, num_tables)
    if max_buffered == 100:
        assert sum(len(part["place"]) for part in selector._parts) < 2000


def test_mistakes_come_first_if_there_are_too_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusion_cells, "MAX_SAMPLES", 12)
    selector = CellSampleSelector(3)
    selector.update(make_decisions(3000, 3))
    chosen = selector.select()
    mistakes = chosen["truth"] != chosen["predicted"]
    assert len(mistakes) == 12
    assert int(mistakes.sum()) == 9  # one of each of 9 cells, then a second one of 3 of the 6 cells of mistakes


def test_no_decisions_give_no_samples() -> None:
    assert CellSampleSelector(3).select() == {}


def test_a_confidence_that_is_not_a_number_counts_as_zero() -> None:
    selector = CellSampleSelector(2)
    selector.update(Decisions(torch.tensor([0, 0]), torch.tensor([0, 0]), torch.tensor([float("nan"), 0.5])))
    assert selector.select()["place"].tolist() == [1, 0]
