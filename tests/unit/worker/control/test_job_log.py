"""The lines of a job's log."""

import signal
from typing import Any

import pytest

from core.jobs import StopMode
from core.spec.job_kinds import KINDS
from worker.control import job_log
from worker.protocol import BestEpoch, FileDigest, JobCompleted, Metrics, RunProgress, TrainingFinished

SPEC: dict[str, Any] = {
    "kind": "train",
    "dataset": {"name": "digits", "version": 3},
    "architecture": {"name": "convnet"},
    "optimizer": {"name": "adamw", "lr": 0.003},
    "schedule": {"name": "cosine"},
    "loss": {"name": "cross_entropy"},
    "epochs": 15,
    "batch_size": 64,
    "seed": 7,
}
RUNTIME: dict[str, Any] = {
    "device": "cpu",
    "device_name": "AVX512",
    "precision": "bf16",
    "threads": 2,
    "torch": "2.9",
    "num_parameters": 94538,
    "num_trainable_parameters": 94538,
    "splits": {"train": 1527, "valid": 270},
    "steps_per_epoch": 23,
    "resumed_from_step": None,
}
FILES = {"weights.safetensors": FileDigest(sha256="0" * 64, size_bytes=380_000)}


def build_epoch(**changes: Any) -> Metrics:
    progress = RunProgress(epoch=3, epochs=15, step=69, steps=345, eta_seconds=1.0)
    latest = {"train_loss": 0.41234, "valid_loss": "NaN", "valid_accuracy": 0.91}
    fields = {"points": (), "latest": latest, "progress": progress, "epoch_end": True}
    return Metrics(**(fields | changes))


def test_the_first_attempt_describes_data_device_network_and_training() -> None:
    assert job_log.describe_start(SPEC, RUNTIME, is_first=True) == [
        "Dataset digits version 3: 1,527 train, 270 valid samples.",
        "Device: cpu (AVX512), precision bf16, 2 threads, torch 2.9.",
        "Network convnet: 94,538 parameters.",
        "Training: 15 epochs of 23 steps, batch size 64, loss cross_entropy, optimizer adamw (lr 0.003), "
        "schedule cosine, seed 7.",
    ]


def test_a_later_attempt_describes_only_what_can_differ() -> None:
    runtime = RUNTIME | {"resumed_from_step": 46, "devices": 2}
    assert job_log.describe_start(SPEC, runtime, is_first=False) == [
        "Device: 2 processes on cpu (AVX512), precision bf16, 2 threads, torch 2.9.",
        "Resumes from step 46, after 2 of 15 epochs.",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"num_trainable_parameters": 10}, "Network convnet: 94,538 parameters, 10 of them trainable."),
        (
            {"init": {"loaded": ["a", "b"], "missing": ["c"], "unexpected": [], "mismatched": []}},
            "Initial weights from digits@2: 2 tensors loaded, 1 skipped.",
        ),
        (
            {"begun": {"job": "ab", "checkpoint": 4, "epoch": 2, "step": 46, "went_on": ["model", "optimizer"]}},
            "Starts from checkpoint 4 of job ab, which restores: model, optimizer.",
        ),
        (
            {"cached_features": {"used": False, "reason": "no layer is frozen"}},
            "The outputs of the frozen layers are not cached: no layer is frozen.",
        ),
    ],
)
def test_the_start_mentions_what_is_special(changes: dict[str, Any], line: str) -> None:
    assert line in job_log.describe_start(SPEC | {"init_from": "digits@2"}, RUNTIME | changes, is_first=True)


def test_a_tuned_batch_size_is_shown_instead_of_that_of_the_spec() -> None:
    lines = job_log.describe_start(SPEC, RUNTIME | {"batch_size": {"chosen": 512}}, is_first=True)
    assert any("batch size 512," in line for line in lines)


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_of_every_kind_names_its_network_or_model(kind: str) -> None:
    spec = (
        SPEC | {"kind": kind}
        if kind in {"train", "reproduce", "lr_find", "register"}
        else {"kind": kind, "model": "digits@1"}
    )
    lines = job_log.describe_start(spec, RUNTIME, is_first=True)
    assert any(line.startswith(("Network convnet: ", "Model digits@1: ")) for line in lines)
    assert any(line.startswith("Training: ") for line in lines) == (kind in {"train", "reproduce"})


def test_an_epoch_is_one_line_with_its_metrics_rate_and_duration() -> None:
    epoch = build_epoch(is_best=True, lr=0.003, epoch_seconds=1.234)
    assert job_log.describe_epoch(epoch) == (
        "Epoch 3/15: train loss 0.4123; valid loss NaN, accuracy 0.91; lr 0.003; 1.23 s; new best."
    )


def test_an_epoch_of_an_earlier_trainer_has_no_rate_and_no_duration() -> None:
    assert job_log.describe_epoch(build_epoch(latest={})) == "Epoch 3/15: no metrics."


def test_a_checkpoint_shows_its_position_size_and_tags() -> None:
    line = job_log.describe_checkpoint(2, 3, 69, ("best", "kept"), 1_530_000)
    assert line == "Checkpoint 2 of epoch 3, step 69 is stored: 1.5 MB (best, kept)."


def build_finished(**changes: Any) -> TrainingFinished:
    evaluation = {"test": {"loss": 0.1, "accuracy": 0.97, "confusion_matrix": [[1, 2], [3, 4]], "per_class": {"a": 1}}}
    fields = {"dir": "/x", "files": FILES, "metrics": {}, "evaluation": evaluation, "num_parameters": 94538}
    return TrainingFinished(**(fields | changes))


@pytest.mark.parametrize(
    ("stop_reason", "line"),
    [
        ("valid_loss has not been better than 0.1 for 5 epochs", "Stopped early: valid_loss has not been better than"),
        ("time limit of 5 s reached", "Stopped early: time limit of 5 s reached."),
        ("user_finished", "Stopped early, as requested."),
    ],
)
def test_an_early_stop_has_its_reason(stop_reason: str, line: str) -> None:
    lines = job_log.describe_training_result(build_finished(stop_reason=stop_reason), "digits@1", is_new=True)
    assert lines[0].startswith(line)


def test_the_result_has_best_epoch_evaluation_and_version() -> None:
    finished = build_finished(best_epoch=BestEpoch(epoch=12, metrics={"valid_loss": 0.06}))
    assert job_log.describe_training_result(finished, "digits@1", is_new=True) == [
        "The weights of epoch 12, the best one, are used.",
        "Evaluation: test loss 0.1, accuracy 0.97.",
        "Registered model digits@1: 94,538 parameters, 0.4 MB.",
    ]
    unchanged = job_log.describe_training_result(finished, "digits@1", is_new=False)
    assert unchanged[-1] == "Model digits@1 is unchanged: 94,538 parameters, 0.4 MB."


def test_results_of_other_kinds_show_metrics_counts_and_files() -> None:
    result = {"num_pictures": 1200, "num_failed": 3, "num_ignored": 0, "counts": {"a": 5}}
    completed = JobCompleted(result=result, metrics={"test_accuracy": 0.98, "speed_ratio": 2.0}, files=FILES)
    assert job_log.describe_result(completed) == [
        "Result: test accuracy 0.98; speed_ratio 2.",
        "Processed: 1,200 images, 3 not readable, 0 ignored.",
        "Files: weights.safetensors.",
    ]


@pytest.mark.parametrize("mode", StopMode)
def test_every_stop_request_has_a_line(mode: StopMode) -> None:
    assert job_log.STOP_REQUESTS[mode].endswith(".")


def test_only_the_last_line_of_stderr_is_shown() -> None:
    stderr = "Traceback (most recent call last):\n  File x\nKeyError: 'y'\n\n"
    assert job_log.describe_exit(-signal.SIGKILL, stderr) == (
        "The trainer exited with signal SIGKILL without a result; its last line of output: KeyError: 'y'"
    )
    assert job_log.describe_exit(3, "") == "The trainer exited with status 3 without a result"
