"""Metric curves of a run."""

from pathlib import Path

from tests.support.trainer import build_start, run_job
from tests.support.training import build_spec
from worker.protocol import Metrics


def test_epochs_have_points_of_loss_metrics_and_speed(dataset: Path, tmp_path: Path) -> None:
    _, channel = run_job(build_start(build_spec(), dataset, tmp_path / "work"))
    points = [point for message in channel.select_messages(Metrics) for point in message.points]
    assert {(p.split, p.name) for p in points} == {
        *(("train", n) for n in ("loss", "accuracy", "step_loss", "lr")),
        *(("train", n) for n in ("images_per_s", "data_wait", "peak_memory_mib", "epoch_seconds", "seconds")),
        ("valid", "seconds"),
        *(("valid", n) for n in ("loss", "accuracy")),
    }
    assert [p.step for p in points if (p.split, p.name) == ("valid", "loss")] == [5, 10]
    assert [m.epoch_end for m in channel.select_messages(Metrics)].count(True) == 2
    assert channel.select_messages(Metrics)[-1].progress.eta_seconds == 0.0
