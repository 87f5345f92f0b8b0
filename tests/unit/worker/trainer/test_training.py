"""Trainings from start to bundle, in this process."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.datasets.packed_writer import PackedWriter
from models import bundle
from tests.support.trainer import build_start, run_job, run_to_failure
from tests.support.training import build_spec, hash_weights, pack
from worker.builders import build_run
from worker.engine.callback import Callback
from worker.engine.run import Run
from worker.engine.state import RunState
from worker.protocol import CheckpointWritten, Metrics, RunFailed, RunStarted, TrainingFinished
from worker.trainer import training


def test_training_writes_a_bundle_that_predicts(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(metrics=["accuracy", "confusion_matrix"])
    status, channel = run_job(
        build_start(spec, dataset, tmp_path / "work", dataset={"name": "synthetic", "version": 3})
    )
    assert status == 0
    assert [type(message) for message in channel.messages][:1] == [RunStarted]
    (finished,) = channel.select_messages(TrainingFinished)
    assert channel.messages[-1] == finished
    network, description = bundle.load_bundle(Path(finished.dir))
    assert hash_weights(network, tmp_path) == finished.files["weights.safetensors"].sha256
    assert description.lineage["dataset"] == {"name": "synthetic", "version": 3}
    assert description.lineage["spec"] == spec.model_dump(mode="json")
    assert set(finished.metrics) == {"train_loss", "train_accuracy", "valid_loss", "valid_accuracy"}
    assert finished.metrics["valid_loss"] == pytest.approx(finished.evaluation["valid"]["loss"])
    assert sum(map(sum, finished.evaluation["valid"]["confusion_matrix"])) == 9


def test_existing_test_split_is_evaluated(tmp_path: Path) -> None:
    writer = PackedWriter(
        tmp_path / "packed", task="classification", classes=["a", "b"], num_outputs=2, image_shape=(1, 8, 8)
    )
    for split, count in (("train", 40), ("test", 10)):
        images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
        writer.append_chunk(split, images, np.arange(count) % 2, [str(i) for i in range(count)])
    writer.finish_dataset()
    _, channel = run_job(build_start(build_spec(), tmp_path / "packed", tmp_path / "work"))
    (finished,) = channel.select_messages(TrainingFinished)
    assert finished.metrics["test_accuracy"] == finished.evaluation["test"]["accuracy"]
    assert set(finished.evaluation) == {"valid", "test"}


def test_finish_stops_after_the_epoch_and_writes_a_bundle(dataset: Path, tmp_path: Path) -> None:
    status, channel = run_job(build_start(build_spec(epochs=50), dataset, tmp_path / "work"), stop_mode="finish")
    (finished,) = channel.select_messages(TrainingFinished)
    assert (status, finished.stop_reason, channel.select_messages(CheckpointWritten)[-1].epoch) == (
        0,
        "user_finished",
        1,
    )


def test_finished_run_continues_with_more_epochs(dataset: Path, tmp_path: Path) -> None:
    cycle = {"schedule": {"name": "one_cycle", "max_lr": 0.01}}
    _, first = run_job(build_start(build_spec(epochs=50, **cycle), dataset, tmp_path / "a"), stop_mode="finish")
    resume_dir = first.select_messages(CheckpointWritten)[-1].dir
    status, again = run_job(build_start(build_spec(epochs=50, **cycle), dataset, tmp_path / "b", resume_dir=resume_dir))
    assert (status, again.select_messages(CheckpointWritten)) == (0, [])  # it was finished
    status, more = run_job(build_start(build_spec(epochs=52, **cycle), dataset, tmp_path / "c", resume_dir=resume_dir))
    assert (status, more.select_messages(CheckpointWritten)[-1].epoch) == (0, 52)


def test_non_finite_weights_are_never_stored(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network: nn.Module = nn.Identity()

    class InfiniteWeights(Callback):
        """Makes weights infinite after the last loss of the last epoch, so that no loss shows it."""

        def on_valid_end(self, state: RunState) -> None:
            if state.epoch == 2:
                nn.init.constant_(next(network.parameters()), float("inf"))

    def build_broken_run(*options: Any) -> Run:
        nonlocal network
        run = build_run(*options)
        network = run.network
        return replace(run, callbacks=(*run.callbacks, InfiniteWeights()))

    monkeypatch.setattr(training, "build_run", build_broken_run)
    failed = run_to_failure(build_start(build_spec(epochs=2), dataset, tmp_path / "work"))
    assert (failed.code, failed.extra["epoch"]) == ("diverged", 2)
    assert [folder.name[:7] for folder in (tmp_path / "work" / "checkpoints").iterdir()] == ["e000001"]


def test_divergence_reports_epoch_and_learning_rate_and_stores_nothing(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(optimizer={"name": "sgd", "lr": 1e9}, epochs=5, batch_size=4)
    start = build_start(spec, dataset, tmp_path / "work")
    failed = run_to_failure(start)
    assert failed.code == "diverged"
    assert failed.extra["learning_rate"] == 1e9
    assert failed.extra["epoch"] == 1
    assert failed.hint
    assert not (tmp_path / "work" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["features.*", "*"], "no parameter matches 'features.*'; the parameters are head.0.weight"),
        (["head.*", "*"], "earlier parts match all parameters of '*'"),
        (["*.weight", "head.0.*"], "no part of the optimizer matches head.2.bias, head.4.bias; let the last one"),
    ],
)
def test_optimizer_parts_that_do_not_match_parameters_are_rejected(
    dataset: Path, tmp_path: Path, patterns: list[str], message: str
) -> None:
    parts = [{"match": pattern, "optimizer": {"name": "sgd"}} for pattern in patterns]
    spec = build_spec(optimizer={"name": "several", "parts": parts}, freeze=["features.*"])
    failed = run_to_failure(build_start(spec, dataset, tmp_path / "work"))
    assert failed.code == "invalid_spec"
    assert failed.message.startswith(message)


def test_network_with_probabilities_learns_like_one_with_scores(tmp_path: Path) -> None:
    packed = pack(tmp_path / "it", task="multilabel", num_samples=90)
    layers: list[dict[str, Any]] = [{"type": "flatten"}, {"type": "linear", "out": packed.meta.num_outputs}]
    last_layers: dict[str, Any] = {"bce": [{"type": "sigmoid"}], "bce_with_logits": []}
    losses, bundles = [], []
    for loss, last in last_layers.items():
        architecture = {"name": "layers", "layers": [*layers, *last]}
        spec = build_spec(architecture=architecture, loss={"name": loss}, optimizer={"name": "sgd", "lr": 0.1})
        status, channel = run_job(build_start(spec, tmp_path / "it", tmp_path / loss))
        assert status == 0, channel.messages[-2:]
        losses.append([value for (_, name, _), value in channel.collect_points().items() if name == "loss"])
        bundles.append(bundle.load_bundle(Path(channel.select_messages(TrainingFinished)[0].dir)))
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    (network, description), (plain, plain_description) = bundles
    assert (description.gives, plain_description.gives) == ("probabilities", "scores")
    images = torch.rand(4, *description.image_shape)
    assert torch.allclose(network(images), plain(images), atol=1e-3)
    spec = build_spec(architecture={"name": "layers", "layers": layers}, loss={"name": "bce"})
    _, channel = run_job(build_start(spec, tmp_path / "it", tmp_path / "raw"))
    assert channel.select_messages(RunFailed)[0].code == "invalid_spec"
    assert "add a final 'sigmoid'" in channel.select_messages(RunFailed)[0].message


def test_training_without_validation_samples_has_no_validation_metrics(dataset: Path, tmp_path: Path) -> None:
    callbacks = [{"name": "keep_best", "monitor": "train_loss"}, {"name": "csv_logger"}, {"name": "ema"}]
    spec = build_spec(dataset={"name": "synthetic", "valid": 0}, callbacks=callbacks, epochs=3)
    status, channel = run_job(build_start(spec, dataset, tmp_path / "work"))
    (finished,) = channel.select_messages(TrainingFinished)
    assert (status, finished.evaluation) == (0, {})
    assert set(finished.metrics) == {"train_loss", "train_accuracy"}
    epochs = [message for message in channel.select_messages(Metrics) if message.epoch_end]
    assert [set(message.latest) for message in epochs] == [{"train_loss", "train_accuracy"}] * 3
    assert {point.split for message in channel.select_messages(Metrics) for point in message.points} == {
        "train",
        "usage",
    }
    assert finished.best_epoch is not None


def test_training_without_validation_reports_the_test_split(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(dataset={"name": "synthetic", "valid": 0, "test": 0.2})
    _, channel = run_job(build_start(spec, dataset, tmp_path / "work"))
    (finished,) = channel.select_messages(TrainingFinished)
    assert set(finished.evaluation) == {"test"}
    assert set(finished.metrics) == {"train_loss", "train_accuracy", "test_loss", "test_accuracy"}
