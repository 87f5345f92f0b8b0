"""Datasets and a trained model that the trainer tests share."""

from pathlib import Path

import pytest

from tests.support.trainer import build_start, run_job
from tests.support.training import build_spec, pack
from worker.protocol import CheckpointWritten, TrainingFinished


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed dataset of 90 samples."""
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=90)
    return folder


@pytest.fixture(scope="session")
def large_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed dataset of 120 samples."""
    folder = tmp_path_factory.mktemp("packed") / "large"
    pack(folder, num_samples=120)
    return folder


@pytest.fixture(scope="session")
def trained(large_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingFinished:
    """The final message of a training on the large dataset. Its bundle exists."""
    _, channel = run_job(build_start(build_spec(epochs=3), large_dataset, tmp_path_factory.mktemp("trained") / "work"))
    finished: TrainingFinished = channel.select_messages(TrainingFinished)[0]
    return finished


@pytest.fixture(scope="session")
def checkpoint(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a job after two epochs of 5 steps each."""
    spec = build_spec(callbacks=[{"name": "early_stopping"}, {"name": "ema", "decay": 0.9}])
    _, channel = run_job(build_start(spec, dataset, tmp_path_factory.mktemp("source") / "work"))
    return Path(channel.select_messages(CheckpointWritten)[-1].dir)
