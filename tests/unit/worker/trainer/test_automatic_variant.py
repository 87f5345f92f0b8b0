"""Jobs of the format `auto`: all candidates are made and measured, and at most one is stored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.jobs import StopMode
from core.spec import ANY_JOB, CANDIDATE_FORMATS
from models import bundle, variants
from tests.support.trainer import build_start, run_job
from tests.support.training import RecordingChannel
from worker.protocol import EXIT_STOPPED, JobCompleted, Log, Metrics, RunStopped, Start, TrainingFinished
from worker.trainer import automatic_variant, main
from worker.trainer.variant_comparison import Throughput

SPEC = {"kind": "variant", "model": "it@1", "dataset": {"name": "synthetic", "valid": 0.2}, "format": "auto"}
SPEEDS = {"model": 100.0, "onnx": 150.0, "openvino": 200.0, "int8": 120.0}


@pytest.fixture
def start_message(large_dataset: Path, trained: TrainingFinished, tmp_path: Path) -> Callable[..., Start]:
    def build(**changes: Any) -> Start:
        spec = ANY_JOB.validate_python({**SPEC, "threads": 1, "batch_size": 8, "max_drop": 1.0, **changes})
        return build_start(spec, large_dataset, tmp_path / "work", model_dir=trained.dir)

    return build


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replaces the exporters and the runtimes: each format runs the network itself.

    The entry of a format is an exception to raise, or a function that changes the scores.
    """
    changes: dict[str, Any] = {}

    def write(folder: Path, network: Any, description: Any, kind: variants.Format, **_: Any) -> Any:
        if isinstance(changes.get(kind), Exception):
            raise changes[kind]
        files = bundle.save_bundle(folder, network, description)
        described = variants.VariantDescription(format=kind, precision="fp32")
        (folder / variants.DESCRIPTION).write_text(described.model_dump_json())
        return files

    def open_runner(folder: Path, *, threads: int) -> variants.Runner:
        run = variants.create_eager_runner(*bundle.load_bundle(folder))
        change = changes.get(folder.name)
        return run if change is None else lambda pixels: change(run(pixels))

    monkeypatch.setattr(variants, "write_variant", write)
    monkeypatch.setattr(variants, "open_runner", open_runner)
    return changes


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Replaces the clock: the throughput of the model and of each format, all formats being accurate."""
    values = dict(SPEEDS)

    def measure(runners: Any, pixels: Any, before_round: Any) -> list[Throughput]:
        before_round()
        names = ["model", *CANDIDATE_FORMATS][: len(runners)]
        return [Throughput(values[name] / 2, values[name], values[name] * 2) for name in names]

    monkeypatch.setattr(automatic_variant, "measure_throughput", measure)
    return values


def complete(start: Start) -> tuple[JobCompleted, RecordingChannel]:
    status, channel = run_job(start)
    assert status == 0, channel.messages[-1]
    completed = channel.messages[-1]
    assert isinstance(completed, JobCompleted)
    return completed, channel


def get_outcomes(completed: JobCompleted) -> dict[str, str]:
    return {entry["format"]: entry["outcome"] for entry in completed.result["candidates"]}


@pytest.mark.usefixtures("networks", "speeds")
def test_only_the_fastest_candidate_is_stored(start_message: Callable[..., Start]) -> None:
    start = start_message()
    completed, channel = complete(start)
    assert get_outcomes(completed) == {"onnx": "slower", "openvino": "chosen", "int8": "slower"}
    result = completed.result
    assert (result["format"], result["chosen_by"], result["speed_ratio"]) == ("openvino", "auto", 2.0)
    assert completed.metrics == {"valid_accuracy": result["after"], "speed_ratio": 2.0}
    assert {path.name for path in Path(str(completed.dir)).iterdir()} == {*completed.files, variants.DESCRIPTION}
    assert list((Path(start.work_dir) / "candidates").iterdir()) == []
    lines = [message.message for message in channel.select_messages(Log)]
    assert lines == [f"{entry['format']}: {entry['message']}" for entry in result["candidates"]]


def test_no_faster_candidate_stores_nothing(
    start_message: Callable[..., Start], networks: dict[str, Any], speeds: dict[str, float]
) -> None:
    speeds.update(onnx=105.0, openvino=90.0, int8=100.0)
    start = start_message()
    completed, channel = complete(start)
    assert set(get_outcomes(completed).values()) == {"slower"}
    assert (completed.dir, completed.files, completed.metrics) == (None, {}, {})
    result = completed.result
    assert (result["format"], result["num_samples"], result["metric"]) == (None, 24, "accuracy")
    assert result["speed"]["after_images_per_s"] is None
    assert list((Path(start.work_dir) / "candidates").iterdir()) == []
    assert channel.select_messages(Log)[-1].message == automatic_variant.NONE_CHOSEN


def test_candidates_that_cannot_be_used_do_not_fail_the_job(
    start_message: Callable[..., Start], networks: dict[str, Any]
) -> None:
    networks["onnx"] = variants.MissingPackage("the package 'onnx' is not installed")
    networks["openvino"] = RuntimeError("the operator is not supported")
    networks["int8"] = lambda scores: np.full_like(scores, np.nan)
    completed, channel = complete(start_message())
    assert get_outcomes(completed) == {"onnx": "unavailable", "openvino": "failed", "int8": "accuracy_dropped"}
    assert completed.result["format"] is None
    assert [message.level for message in channel.select_messages(Log)] == ["info", "warning", "info", "info"]


def test_an_inaccurate_candidate_is_not_chosen(start_message: Callable[..., Start], networks: dict[str, Any]) -> None:
    networks["onnx"] = networks["openvino"] = networks["int8"] = lambda scores: np.roll(scores, 1, axis=1)
    completed, _ = complete(start_message(max_drop=0.005))
    assert set(get_outcomes(completed).values()) == {"accuracy_dropped"}
    assert [entry["speed_ratio"] for entry in completed.result["candidates"]] == [None] * 3
    assert completed.result["candidates"][0]["after"] is not None


def test_a_full_disk_fails_the_job(start_message: Callable[..., Start], networks: dict[str, Any]) -> None:
    networks["openvino"] = OSError(28, "No space left on device")
    status, channel = run_job(start_message())
    assert (status, channel.messages[-1].code) == (1, "disk_full")  # type: ignore[union-attr]  # a failure


@pytest.mark.usefixtures("networks", "speeds")
def test_progress_never_goes_back(start_message: Callable[..., Start]) -> None:
    _, channel = complete(start_message())
    steps = [message.progress.step for message in channel.select_messages(Metrics)]
    assert steps == sorted(steps)
    assert steps[-1] == channel.select_messages(Metrics)[-1].progress.steps == 3


class StoppingChannel(RecordingChannel):
    """Requests a stop after a number of messages."""

    def __init__(self, num_messages: int) -> None:
        super().__init__()
        self._num_messages = num_messages

    def send(self, message: Any) -> None:
        super().send(message)
        if len(self.messages) == self._num_messages:
            self.stop_mode = StopMode.CANCEL


@pytest.mark.usefixtures("speeds")
@pytest.mark.parametrize(
    ("num_messages", "num_written", "num_batches"),
    [(2, 0, 0), (3, 1, 0), (4, 2, 0), (5, 3, 0), (7, 3, 1)],
)
def test_a_stop_is_obeyed_between_and_within_candidates(
    start_message: Callable[..., Start],
    networks: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    num_messages: int,
    num_written: int,
    num_batches: int,
) -> None:
    written: list[str] = []
    ran: list[str] = []
    write_variant = variants.write_variant

    def write(*arguments: Any, **options: Any) -> Any:
        written.append(arguments[3])
        return write_variant(*arguments, **options)

    def count(scores: Any) -> Any:
        ran.append("onnx")
        return scores

    monkeypatch.setattr(variants, "write_variant", write)
    networks["onnx"] = count
    channel = StoppingChannel(num_messages)
    assert main.run_job(start_message(), channel) == EXIT_STOPPED
    assert isinstance(channel.messages[-1], RunStopped)
    assert (len(written), len(ran)) == (num_written, num_batches)


@pytest.mark.slow
def test_the_real_formats_are_compared_with_the_model(start_message: Callable[..., Start]) -> None:
    num_threads = torch.get_num_threads()
    completed, _ = complete(start_message(max_drop=0.2))
    assert set(get_outcomes(completed)) == set(CANDIDATE_FORMATS)
    assert "failed" not in get_outcomes(completed).values(), completed.result["candidates"]
    measured = [entry for entry in completed.result["candidates"] if entry["outcome"] in ("chosen", "slower")]
    assert all(entry["speed_ratio"] > 0 and entry["max_logit_difference"] < 0.5 for entry in measured)
    assert torch.get_num_threads() == num_threads
