"""Writes an event file for TensorBoard: metrics and, if configured, histograms of the weights."""

import struct
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.engine.callback import SaveArtifact
from worker.engine.callbacks.file_log import FileLog
from worker.engine.state import RunState

NUM_BINS = 30


class TensorBoard(FileLog):
    """Writes the scalars `<metric>/<split>` and `lr`, and histograms of parameters, at the end of every epoch.

    Source: luz_callback_tfevents. As in luz, the step of an event is the epoch.
    """

    name: ClassVar[str] = "events.out.tfevents.candela"  # TensorBoard searches for `tfevents` in file names
    media_type: ClassVar[str] = "application/octet-stream"

    def __init__(
        self,
        network: nn.Module,
        save_artifact: SaveArtifact,
        *,
        histograms: Sequence[str] = (),
        now: Callable[[], float] = time.time,
        **log_options: Any,  # noqa: ANN401 - passed on to FileLog
    ) -> None:
        """`histograms`: shell patterns that select parameters by name. A histogram of each parameter is written."""
        super().__init__(save_artifact, **log_options)
        self._network, self._histograms, self._now = network, tuple(histograms), now

    def on_epoch_end(self, state: RunState) -> None:
        from tensorboardX.proto.event_pb2 import Event  # imported here, because the import takes half a second

        if not self._content:
            self.write(_encode_record(Event(wall_time=self._now(), file_version="brain.Event:2").SerializeToString()))
        summary = _build_summary(dict(state.metrics), state.lr, self._select_parameters())
        event = Event(wall_time=self._now(), step=state.epoch, summary=summary)
        self.write(_encode_record(event.SerializeToString()))
        super().on_epoch_end(state)

    def _select_parameters(self) -> dict[str, Tensor]:
        return {
            name: parameter.detach()
            for name, parameter in self._network.named_parameters()
            if any(fnmatchcase(name, pattern) for pattern in self._histograms)
        }


def _build_summary(metrics: dict[str, float], lr: float, weights: dict[str, Tensor]) -> Any:  # noqa: ANN401 - a protocol buffer
    from tensorboardX.proto.summary_pb2 import HistogramProto, Summary

    tags = {f"{name.partition('_')[2]}/{name.partition('_')[0]}": value for name, value in metrics.items()}
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in {**tags, "lr": lr}.items()]
    for name, weight in weights.items():
        numbers = weight.double().cpu().numpy().ravel()
        counts, limits = _count_values(numbers)
        histogram = HistogramProto(
            min=numbers.min(),
            max=numbers.max(),
            num=numbers.size,
            sum=numbers.sum(),
            sum_squares=float(numbers @ numbers),
            bucket_limit=limits,
            bucket=counts,
        )
        values.append(Summary.Value(tag=name, histo=histogram))
    return Summary(value=values)


def _count_values(numbers: NDArray[np.float64]) -> tuple[list[int], list[float]]:
    """Return the number of values in each bin, and the upper limit of each bin.

    There is one bin if the values are equal or not all finite: numpy raises an error for large equal values.
    """
    if np.isfinite(numbers).all() and numbers.min() < numbers.max():
        counts, edges = np.histogram(numbers, NUM_BINS)
        return counts.tolist(), edges[1:].tolist()
    return [numbers.size], [float(numbers.max())]


def _encode_record(content: bytes) -> bytes:
    """Return a TFRecord: the length, the checksum of the length, the content and the checksum of the content.

    Source: tensorflow/core/lib/io/record_writer.h.
    """
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(content))
    checks = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return length + next(checks) + content + next(checks)
