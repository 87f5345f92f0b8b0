"""Writes the metrics of every epoch as CSV."""

import csv
import io
from typing import ClassVar

from core.csv_output import escape_cell
from worker.engine.callbacks.file_log import FileLog
from worker.engine.state import RunState

SPLITS = ("train", "valid")


class CsvLogger(FileLog):
    """Writes one row per epoch and split. The columns are the epoch, the split (`set`) and all metrics.

    If a split has no value for a metric, the cell is empty. Source: luz_callback_csv_logger, which requires that
    all rows have the same metrics.
    """

    name: ClassVar[str] = "metrics.csv"
    media_type: ClassVar[str] = "text/csv"

    def on_epoch_end(self, state: RunState) -> None:
        values_by_split = {part: _select_metrics(state, part) for part in SPLITS}
        columns = list(dict.fromkeys(name for values in values_by_split.values() for name in values))
        text = io.StringIO()
        writer = csv.DictWriter(text, ["epoch", "set", *columns], lineterminator="\n")
        if not self._content:
            writer.writerow({name: escape_cell(name) for name in writer.fieldnames})
        for part, values in values_by_split.items():
            if values:
                writer.writerow({"epoch": state.epoch, "set": part, **values})
        self.write(text.getvalue().encode())
        super().on_epoch_end(state)


def _select_metrics(state: RunState, split: str) -> dict[str, float]:
    start = f"{split}_"
    return {name.removeprefix(start): value for name, value in state.metrics.items() if name.startswith(start)}
