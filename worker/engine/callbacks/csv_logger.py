"""Writes the metrics of every epoch as CSV."""

import csv
import io
from typing import ClassVar

from worker.engine.callbacks.file_log import FileLog
from worker.engine.state import RunState

SETS = ("train", "valid")


class CsvLogger(FileLog):
    """One row an epoch and set: epoch, set, and every metric that either set has; what a set has not is empty.

    Source: luz_callback_csv_logger, whose rows must have the same metrics.
    """

    name: ClassVar[str] = "metrics.csv"
    media_type: ClassVar[str] = "text/csv"

    def on_epoch_end(self, state: RunState) -> None:
        found = {part: _of(state, part) for part in SETS}
        columns = list(dict.fromkeys(name for values in found.values() for name in values))
        text = io.StringIO()
        writer = csv.DictWriter(text, ["epoch", "set", *columns], lineterminator="\n")
        if not self._content:
            writer.writeheader()
        for part, values in found.items():
            if values:
                writer.writerow({"epoch": state.epoch, "set": part, **values})
        self.write(text.getvalue().encode())
        super().on_epoch_end(state)


def _of(state: RunState, part: str) -> dict[str, float]:
    start = f"{part}_"
    return {name.removeprefix(start): value for name, value in state.metrics.items() if name.startswith(start)}
