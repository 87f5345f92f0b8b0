"""The learning curve: when it is drawn, and that it changes nothing else."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.trainer import build_start, run_job, run_to_failure
from tests.support.training import build_spec, end_epoch, read_artifacts
from worker.engine import plots
from worker.engine.metric_history import MetricHistory
from worker.engine.state import RunState
from worker.protocol import ArtifactWritten, CheckpointWritten, Log, TrainingFinished
from worker.trainer.callbacks import LearningCurveCallback
from worker.trainer.callbacks.learning_curve import KEY, NAME


class Recorder:
    """Records what a callback saves and warns of. `error`, if set, is raised instead of saving."""

    def __init__(self) -> None:
        self.saved: list[tuple[str, str, bytes]] = []
        self.warnings: list[str] = []
        self.error: Exception | None = None
        self.now = 0.0

    def save(self, name: str, media_type: str, content: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.saved.append((name, media_type, content))

    def build(self, **options: Any) -> LearningCurveCallback:
        clock = lambda: self.now  # noqa: E731
        return LearningCurveCallback(MetricHistory(), self.save, self.warnings.append, clock=clock, **options)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def read_epochs(checkpoint: CheckpointWritten) -> list[int]:
    document = json.loads((Path(checkpoint.dir) / "snapshot.json").read_bytes())
    epochs: list[int] = document["metadata"][KEY]["epochs"]
    return epochs


@pytest.mark.parametrize("changes", [{"epochs": 1}, {"dataset": {"name": "x", "valid": 0}}, {"epochs": 3}])
def test_every_training_has_a_learning_curve(changes: dict[str, Any], dataset: Path, tmp_path: Path) -> None:
    status, channel = run_job(build_start(build_spec(**changes), dataset, tmp_path / "work"))
    assert status == 0
    image = Image.open(io.BytesIO(read_artifacts(channel)[NAME]))
    assert image.format == "PNG"
    assert isinstance(channel.messages[-1], TrainingFinished)  # the artifact comes before the last message
    assert not [line for line in channel.select_messages(Log) if line.level == "warning"]


def test_matplotlib_is_not_imported_before_a_curve_is_drawn() -> None:
    code = "import sys, worker.engine.plots; sys.exit(any(name.startswith('matplotlib') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=300).returncode == 0


def test_a_resumed_run_draws_all_epochs_and_has_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=4)
    _, whole = run_job(build_start(spec, dataset, tmp_path / "whole"))
    checkpoints = whole.select_messages(CheckpointWritten)
    assert [read_epochs(checkpoint) for checkpoint in checkpoints] == [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]
    _, resumed = run_job(build_start(spec, dataset, tmp_path / "resumed", resume_dir=checkpoints[1].dir))
    assert read_artifacts(resumed)[NAME] == read_artifacts(whole)[NAME]
    (first,), (second,) = whole.select_messages(TrainingFinished), resumed.select_messages(TrainingFinished)
    assert first.files["weights.safetensors"] == second.files["weights.safetensors"]


def test_a_snapshot_of_an_earlier_version_resumes_without_history(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=3)
    _, whole = run_job(build_start(spec, dataset, tmp_path / "whole"))
    folder = Path(whole.select_messages(CheckpointWritten)[0].dir)
    document = json.loads((folder / "snapshot.json").read_bytes())
    del document["metadata"][KEY]
    (folder / "snapshot.json").write_text(json.dumps(document))
    status, resumed = run_job(build_start(spec, dataset, tmp_path / "resumed", resume_dir=str(folder)))
    assert status == 0
    assert read_epochs(resumed.select_messages(CheckpointWritten)[-1]) == [2, 3]


@pytest.mark.parametrize(("stop_mode", "is_drawn"), [("pause", True), ("cancel", True), ("preempt", False)])
def test_a_stopped_run_draws_unless_it_continues_elsewhere(
    stop_mode: str, is_drawn: bool, dataset: Path, tmp_path: Path
) -> None:
    _, first = run_job(build_start(build_spec(), dataset, tmp_path / "first"))
    resume_dir = first.select_messages(CheckpointWritten)[0].dir
    start = build_start(build_spec(), dataset, tmp_path / "work", resume_dir=resume_dir)
    _, stopped = run_job(start, stop_mode)
    assert any(message.name == NAME for message in stopped.select_messages(ArtifactWritten)) is is_drawn


def test_a_failure_to_draw_is_a_warning(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(plots, "plot_learning_curve", fail)
    status, channel = run_job(build_start(build_spec(), dataset, tmp_path / "work"))
    assert status == 0
    (warning,) = [line.message for line in channel.select_messages(Log) if line.level == "warning"]
    assert warning == "The learning curve could not be drawn: RuntimeError: no fonts"


def test_a_diverged_run_draws_its_complete_epochs(recorder: Recorder) -> None:
    curve = recorder.build()
    curve.on_exception(RunState(max_epochs=3, steps_per_epoch=5))
    assert not recorder.saved  # no epoch is complete
    curve.on_epoch_end(end_epoch(1, 0.5))
    curve.on_exception(end_epoch(1, 0.5))
    assert [name for name, _, _ in recorder.saved] == [NAME]


def test_a_long_run_draws_at_most_once_per_interval(recorder: Recorder) -> None:
    curve = recorder.build(every_s=60.0)
    for epoch in range(1, 7):
        recorder.now += 25.0
        curve.on_epoch_end(end_epoch(epoch, 1 / epoch))
        curve.wait()
    assert len(recorder.saved) == 2  # after 75 s and 150 s


def test_the_final_plot_is_saved_once(recorder: Recorder) -> None:
    curve = recorder.build(every_s=0.0)
    state = end_epoch(1, 0.5)
    state.max_epochs = 1
    curve.on_epoch_end(state)
    curve.on_fit_end(state)
    curve.wait()
    assert len(recorder.saved) == 1


def test_diverging_job_fails_with_its_own_failure(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=3, optimizer={"name": "sgd", "lr": 1e12})
    assert run_to_failure(build_start(spec, dataset, tmp_path / "work")).code == "diverged"
