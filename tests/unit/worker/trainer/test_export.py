"""A variant of a registered model, as the trainer makes it: measured beside the model, refused where it is worse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.spec import ANY_JOB
from models import bundle, variants
from tests.support.trainer import build_start
from tests.support.training import RecordingChannel, build_spec, pack
from worker.protocol import EXIT_STOPPED, JobCompleted, RunFailed, RunStopped, Start, TrainingFinished
from worker.trainer import export as making
from worker.trainer import main
from worker.trainer.error_classification import classify_error

SPEC = {"kind": "variant", "model": "it@1", "dataset": {"name": "synthetic", "valid": 0.2}, "threads": 1}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=120)
    return folder


@pytest.fixture(scope="module")
def model_dir(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, channel = run(build_start(build_spec(epochs=3), dataset, tmp_path_factory.mktemp("trained") / "work"))
    finished: TrainingFinished = channel.select_messages(TrainingFinished)[0]
    return Path(finished.dir)


def run(order: Start, asked: Any = None) -> tuple[int, RecordingChannel]:
    channel = RecordingChannel()
    channel.stop_mode = asked
    return main.run_job(order, channel), channel


def order_of(dataset: Path, model_dir: Path, work: Path, **changes: Any) -> Start:
    spec = ANY_JOB.validate_python(SPEC | changes)
    return build_start(spec, dataset, work).model_copy(update={"model_dir": str(model_dir)})


@pytest.mark.parametrize("kind", ["int8", "torch-export"])
def test_a_variant_is_written_and_measured(dataset: Path, model_dir: Path, tmp_path: Path, kind: str) -> None:
    status, channel = run(order_of(dataset, model_dir, tmp_path / "work", format=kind, max_drop=0.2))
    assert status == 0, channel.messages[-1]
    answer = channel.messages[-1]
    assert isinstance(answer, JobCompleted)
    result, folder = answer.result, Path(str(answer.dir))
    assert (result["format"], result["metric"], result["num_samples"]) == (kind, "accuracy", 24)
    assert result["calibration_samples"] == (96 if kind == "int8" else None)
    assert 0 <= result["before"] - result["after"] <= 0.2 or result["after"] > result["before"]
    assert answer.metrics["valid_accuracy"] == result["after"]
    low, middle, high = result["speed"]["after_images_per_s"]
    assert 0 < low <= middle <= high
    assert result["speed_ratio"] == pytest.approx(middle / result["speed"]["before_images_per_s"][1])
    assert {path.name for path in folder.iterdir()} == set(answer.files)
    assert result["file"] in answer.files
    for name, file in answer.files.items():
        assert file.sha256 == bundle.compute_sha256(folder / name)
    difference = result["max_logit_difference"]
    assert difference < 1e-4 if kind == "torch-export" else 1e-6 < difference < 0.5


def test_a_variant_that_answers_worse_is_refused(
    dataset: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(folder: Path, *, threads: int) -> variants.Runner:
        network, description = bundle.load_bundle(folder)
        right = variants.create_eager_runner(network, description)
        return lambda pixels: np.roll(right(pixels), 1, axis=1)

    monkeypatch.setattr(variants, "open_runner", wrong)
    status, channel = run(order_of(dataset, model_dir, tmp_path / "work", format="torch-compile"))
    assert status == 1
    failed = channel.select_messages(RunFailed)[0]
    assert failed.code == "accuracy_dropped"
    assert failed.extra["before"] - failed.extra["after"] > failed.extra["max_drop"] == 0.005
    assert "max_drop" in failed.message


def test_a_variant_whose_scores_are_not_finite_is_refused(
    dataset: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path, *, threads: int) -> variants.Runner:
        return lambda pixels: np.full((len(pixels), 3), np.nan, np.float32)

    monkeypatch.setattr(variants, "open_runner", broken)
    _, channel = run(order_of(dataset, model_dir, tmp_path / "work", format="torch-compile", max_drop=1.0))
    assert channel.select_messages(RunFailed)[0].code == "accuracy_dropped"


def test_it_stops_when_asked(dataset: Path, model_dir: Path, tmp_path: Path) -> None:
    status, channel = run(order_of(dataset, model_dir, tmp_path / "work", format="torch-compile"), "cancel")
    assert status == EXIT_STOPPED
    assert isinstance(channel.messages[-1], RunStopped)


def test_a_missing_package_is_no_defect_of_ours() -> None:
    failed = classify_error(variants.MissingPackage("the package 'onnx' is not installed here"), None)
    assert (failed.code, "onnx" in failed.message) == ("invalid_spec", True)


def test_numbers_are_judged_by_what_they_explain(dataset: Path, model_dir: Path) -> None:
    words = json.loads((model_dir / "bundle.json").read_text()) | {"task": "regression", "classes": []}
    description = bundle.BundleDescription.model_validate(words | {"num_outputs": 1})
    truth = torch.tensor([[1.0], [2.0], [3.0]])
    assert making._compute_score(truth, truth, description) == 1.0
    assert making._compute_score(torch.full((3, 1), 2.0), truth, description) == pytest.approx(0.0)
    assert making._compute_score(torch.tensor([[2.0], [2.0], [3.0]]), truth, description) == pytest.approx(0.5)


def test_the_formats_of_a_job_are_those_that_can_be_made() -> None:
    from typing import get_args

    from core.spec import SERVED_VARIANTS, VariantFormat

    assert get_args(VariantFormat) == variants.FORMATS
    assert SERVED_VARIANTS == variants.SERVED
