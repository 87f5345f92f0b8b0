"""Tests of running out of memory: real runs with a network that rejects large batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import registry
from models.registry import Architecture, Options
from tests.support.trainer import build_start
from tests.support.training import RecordingChannel, build_spec, pack
from worker.engine.oom_recovery import OomBatchSplitter
from worker.protocol import CheckpointWritten, Log, RunFailed, TrainingFinished
from worker.trainer import main


class Greedy(nn.Module):
    """Has memory for `limit` samples at a time."""

    limit = 4
    refusals = 0

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > Greedy.limit:
            Greedy.refusals += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return inputs


@pytest.fixture(autouse=True)
def greedy() -> Iterator[type[Greedy]]:
    """Use a network that draws random numbers and updates statistics before its memory runs out."""

    def build(options: Options, shape: tuple[int, ...], num_outputs: int) -> nn.Module:
        convolution = nn.Conv2d(shape[0], 4, 3, padding=1)
        return nn.Sequential(
            convolution, nn.BatchNorm2d(4), nn.Dropout(0.3), Greedy(), nn.Flatten(), nn.Linear(4 * 64, num_outputs)
        )

    registry.register(Architecture("greedy", "For tests.", "none", Options, build))
    Greedy.limit, Greedy.refusals = 4, 0
    yield Greedy
    del registry._ARCHITECTURES["greedy"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=90)
    return folder


def run(dataset: Path, folder: Path, resume_dir: str | None = None, **changes: Any) -> RecordingChannel:
    channel = RecordingChannel()
    spec = build_spec(architecture={"name": "greedy"}, **{"on_oom": "accumulate"} | changes)
    main.run_job(build_start(spec, dataset, folder, resume_dir=resume_dir), channel)
    return channel


def weights(channel: RecordingChannel) -> str:
    (finished,) = channel.select_messages(TrainingFinished)
    return str(finished.files["weights.safetensors"].sha256)


def test_oversized_batch_is_split_with_identical_results(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relieved = run(dataset, tmp_path / "a")
    warnings = [message.message for message in relieved.select_messages(Log) if message.level == "warning"]
    assert [text.split(".")[0] for text in warnings] == [
        "The device ran out of memory with 16 samples per forward pass",
        "The device ran out of memory with 8 samples per forward pass",
    ]
    assert warnings[-1].endswith("The run continues with 4. A step still uses 16 samples.")
    assert Greedy.refusals == 2
    Greedy.limit = 16
    monkeypatch.setattr(OomBatchSplitter, "__init__", build_init_with_size_four(OomBatchSplitter.__init__))
    assert weights(run(dataset, tmp_path / "b")) == weights(relieved)


def build_init_with_size_four(init: Any) -> Any:
    return lambda self, network, size=None: init(self, network, 4)


def test_resumed_run_keeps_the_micro_batch_size(dataset: Path, tmp_path: Path) -> None:
    whole = run(dataset, tmp_path / "a")
    first = whole.select_messages(CheckpointWritten)[0]
    assert first.step == 1  # at once, not at the end of the epoch
    Greedy.refusals = 0
    resumed = run(dataset, tmp_path / "b", resume_dir=first.dir)
    assert Greedy.refusals == 0
    assert weights(resumed) == weights(whole)


def test_size_is_halved_until_it_fits() -> None:
    torch.manual_seed(0)
    network, inputs = nn.Linear(3, 1), torch.randn(10, 3)
    splitter, sizes = OomBatchSplitter(network), list[int | None]()

    def attempt(size: int | None) -> Tensor:
        sizes.append(size)
        if size is None or size > 3:
            raise torch.OutOfMemoryError
        return torch.cat([network(part) for part in torch.split(inputs, size)])

    assert torch.allclose(splitter.run(attempt, 10), network(inputs))
    assert sizes == [None, 5, 2]


@pytest.mark.parametrize("changes", [{}, {"on_oom": "fail"}])
def test_single_sample_too_large_raises_error_with_hint(dataset: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    Greedy.limit = 0
    (failed,) = run(dataset, tmp_path / "work", **changes).select_messages(RunFailed)
    assert failed.code == "gpu_out_of_memory"
    assert ("on_oom" in failed.hint) is bool(changes)
    assert "a batch_size below 16" in failed.hint
    assert "a network smaller than this greedy, or smaller images than 1x8x8" in failed.hint
    assert failed.extra == {"image_shape": [1, 8, 8], "batch_size": 16, "architecture": "greedy"}
