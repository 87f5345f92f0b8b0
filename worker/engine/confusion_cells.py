"""Selects samples for each cell of a confusion matrix, so that a report can show what was confused.

Axes: N decisions.
"""

import torch
from torch import Tensor

from worker.engine.evaluation import Decisions

MAX_CELL_SAMPLES = 25
"""Samples of one cell: those with the highest confidence."""
MAX_SAMPLES = 20_000
"""Samples of all cells. With more cells, each has fewer samples, and mistakes come first."""
MIN_BUFFERED = 500_000
CellSamples = dict[str, Tensor]
"""For each selected decision: `table`, `truth`, `predicted`, `confidence`, and the `place` of its sample; (N,) each."""


class CellSampleSelector:
    """Keeps the decisions with the highest confidence of each cell.

    Args:
        num_classes: the number of rows and columns of a matrix.
        num_tables: the number of matrices. Decision i of an update belongs to matrix i modulo `num_tables`.
    """

    def __init__(self, num_classes: int, num_tables: int = 1) -> None:
        self._num_classes = num_classes
        self._num_tables = num_tables
        self._num_seen = 0
        self._parts: list[CellSamples] = []
        self._num_buffered = 0
        self._max_buffered = MIN_BUFFERED

    def update(self, decisions: Decisions) -> None:
        """Add the decisions of a batch, whose samples follow those of the previous batch."""
        position = torch.arange(len(decisions.truth)) + self._num_seen
        self._num_seen += len(position)
        self._parts.append(
            {
                "table": (position % self._num_tables).int(),
                "truth": decisions.truth.int().cpu(),
                "predicted": decisions.predicted.int().cpu(),
                "confidence": decisions.confidence.float().cpu().nan_to_num(nan=0.0),
                "place": position // self._num_tables,
            }
        )
        self._num_buffered += len(position)
        if self._num_buffered > self._max_buffered:
            self._parts = [_select_per_cell(self._concatenate(), self._num_classes)]
            self._num_buffered = len(self._parts[0]["place"])
            self._max_buffered = max(MIN_BUFFERED, 2 * self._num_buffered)

    def select(self) -> CellSamples:
        """Return the selected decisions, in the order of their cells and with descending confidence in a cell."""
        if not self._parts:
            return {}
        chosen = _select_per_cell(self._concatenate(), self._num_classes)
        if len(chosen["place"]) <= MAX_SAMPLES:
            return chosen
        cells = _compute_cells(chosen, self._num_classes)
        is_correct = (chosen["truth"] == chosen["predicted"]).long()
        first = (2 * _compute_ranks(cells) + is_correct).argsort(stable=True)[:MAX_SAMPLES]
        return _take(chosen, first.sort().values)

    def _concatenate(self) -> CellSamples:
        return {name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]}


def _select_per_cell(decisions: CellSamples, num_classes: int) -> CellSamples:
    by_confidence = decisions["confidence"].argsort(descending=True, stable=True)
    cells = _compute_cells(decisions, num_classes)
    order = by_confidence[cells[by_confidence].argsort(stable=True)]
    return _take(decisions, order[_compute_ranks(cells[order]) < MAX_CELL_SAMPLES])


def _compute_cells(decisions: CellSamples, num_classes: int) -> Tensor:
    return (decisions["table"].long() * num_classes + decisions["truth"]) * num_classes + decisions["predicted"]


def _compute_ranks(sorted_cells: Tensor) -> Tensor:
    """Return the position of each decision in its cell, for cells in ascending order."""
    return torch.arange(len(sorted_cells)) - torch.searchsorted(sorted_cells, sorted_cells)


def _take(decisions: CellSamples, index: Tensor) -> CellSamples:
    return {name: values[index] for name, values in decisions.items()}
