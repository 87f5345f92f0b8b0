"""Tests of log files: content, times of saving, and resume."""

import csv
import io
import struct
from collections.abc import Callable, Iterator

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c
from torch import nn

from worker.engine.callbacks import CsvLogger, TensorBoard, file_log
from worker.engine.callbacks.file_log import FileLog, LogTooLong
from worker.engine.state import RunState

Artifacts = list[tuple[str, str, bytes]]
EPOCHS = [
    {"train_loss": 2.0, "valid_loss": 1.5, "valid_accuracy": 0.25},
    {"train_loss": 1.0, "valid_loss": float("nan"), "valid_accuracy": 0.5},
    {"train_loss": 0.5, "valid_loss": 0.75, "valid_accuracy": 1.0},
]


def end_epochs(epoch: int) -> RunState:
    return RunState(max_epochs=3, steps_per_epoch=1, epoch=epoch, metrics=EPOCHS[epoch - 1], lr=0.1)


def read_events(content: bytes) -> Iterator[Event]:
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        assert struct.unpack("<I", content[8:12]) == (masked_crc32c(content[:8]),)
        body, content = content[12 : 12 + length], content[12 + length :]
        assert struct.unpack("<I", content[:4]) == (masked_crc32c(body),)
        content = content[4:]
        yield Event.FromString(body)


def network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


@pytest.fixture
def artifacts() -> Artifacts:
    return []


@pytest.fixture(params=["csv", "tensorboard"])
def make(request: pytest.FixtureRequest, artifacts: Artifacts) -> Callable[[], FileLog]:
    def leave(*file: object) -> None:
        artifacts.append(file)  # type: ignore[arg-type]

    kinds: dict[str, Callable[[], FileLog]] = {
        "csv": lambda: CsvLogger(leave),
        "tensorboard": lambda: TensorBoard(network(), leave, histograms=("*",), now=lambda: 7.0),
    }
    return kinds[request.param]


def test_csv_has_two_rows_per_epoch(artifacts: Artifacts) -> None:
    logger = CsvLogger(lambda *file: artifacts.append(file))
    for epoch in (1, 2, 3):
        logger.on_epoch_end(end_epochs(epoch))
    logger.on_fit_end(end_epochs(3))
    name, media_type, content = artifacts[-1]
    assert (name, media_type) == ("metrics.csv", "text/csv")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert [(row["epoch"], row["set"], row["loss"], row["accuracy"]) for row in rows] == [
        ("1", "train", "2.0", ""),
        ("1", "valid", "1.5", "0.25"),
        ("2", "train", "1.0", ""),
        ("2", "valid", "nan", "0.5"),
        ("3", "train", "0.5", ""),
        ("3", "valid", "0.75", "1.0"),
    ]


def test_tensorboard_writes_scalars_and_requested_histograms(artifacts: Artifacts) -> None:
    plotted = network()
    logger = TensorBoard(plotted, lambda *file: artifacts.append(file), histograms=("weight",), now=lambda: 7.0)
    for epoch in (1, 2):
        logger.on_epoch_end(end_epochs(epoch))
    logger.on_fit_end(end_epochs(2))
    head, first, second = read_events(artifacts[-1][2])
    assert head.file_version == "brain.Event:2"
    assert (first.step, second.step, first.wall_time) == (1, 2, 7.0)
    scalars = {value.tag: value.simple_value for value in first.summary.value if value.HasField("simple_value")}
    assert scalars == pytest.approx({"loss/train": 2.0, "loss/valid": 1.5, "accuracy/valid": 0.25, "lr": 0.1})
    (histogram,) = [value for value in first.summary.value if value.HasField("histo")]
    assert histogram.tag == "weight"
    assert (histogram.histo.num, sum(histogram.histo.bucket)) == (12, 12)
    assert histogram.histo.max == pytest.approx(float(plotted.weight.detach().max()))


@pytest.mark.parametrize("values", [[1e20], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_a_histogram_without_a_range_has_one_bin(values: list[float], artifacts: Artifacts) -> None:
    plotted = nn.ParameterDict({"bias": torch.tensor(values)})
    logger = TensorBoard(plotted, lambda *file: artifacts.append(file), histograms=("bias",), now=lambda: 7.0)
    logger.on_epoch_end(end_epochs(1))
    logger.on_fit_end(end_epochs(1))
    *_, event = read_events(artifacts[-1][2])
    (histogram,) = [value.histo for value in event.summary.value if value.HasField("histo")]
    assert list(histogram.bucket) == [len(values)]


def test_resumed_run_saves_the_same_file_as_an_uninterrupted_run(
    make: Callable[[], FileLog], artifacts: Artifacts
) -> None:
    whole, before, after = make(), make(), make()
    for epoch in (1, 2, 3):
        whole.on_epoch_end(end_epochs(epoch))
    whole.on_fit_end(end_epochs(3))
    expected = artifacts[-1]
    before.on_epoch_end(end_epochs(1))
    after.load_state_dict(before.state_dict())
    for epoch in (2, 3):
        after.on_epoch_end(end_epochs(epoch))
    after.on_fit_end(end_epochs(3))
    assert artifacts[-1] == expected


def test_file_is_saved_periodically_and_at_the_end(artifacts: Artifacts) -> None:
    now = iter([0.0, 0.0, 10.0, 40.0, 40.0, 41.0, 42.0])
    logger = CsvLogger(lambda *file: artifacts.append(file), every_s=30.0, clock=lambda: next(now))
    sizes = []
    for epoch in (1, 2, 3):
        logger.on_epoch_end(end_epochs(epoch))
        sizes.append(len(artifacts))
    assert sizes == [1, 1, 2]
    logger.on_fit_end(end_epochs(3))
    assert len(artifacts) == 2  # nothing was new


def test_file_is_saved_after_an_exception(make: Callable[[], FileLog], artifacts: Artifacts) -> None:
    logger = make()
    for epoch in (1, 2):
        logger.on_epoch_end(end_epochs(epoch))
    logger.on_exception(end_epochs(2))
    assert len(artifacts) == 2


def test_file_larger_than_the_limit_raises_error(
    make: Callable[[], FileLog], artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_log, "MAX_BYTES", 500)
    logger = make()
    with pytest.raises(LogTooLong, match="has reached the limit of 500 bytes"):
        for epoch in range(1, 100):
            logger.on_epoch_end(end_epochs(1 + epoch % 3))
