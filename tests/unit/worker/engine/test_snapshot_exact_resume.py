"""Any job, interrupted anywhere, ends like an uninterrupted one: weights, optimizer, schedule, random state, curves."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from core.datasets.packed import PackedDataset
from core.spec import JobSpec
from models import tensor_file
from tests.support.training import InterruptAt, RecordingChannel, build_spec, cpu_placement
from worker.builders import build_run, dataloaders
from worker.engine import snapshot
from worker.engine.device import Precision
from worker.engine.run import Run
from worker.trainer.callbacks import CheckpointCallback, MetricsCallback

MOMENTUM = {"adam", "adamw", "nadam", "radam"}


def _name(part: dict[str, Any]) -> str:
    return str(part["name"])


KINDS = {"mixup": "mixture", "cutmix": "mixture", "ema": "average", "swa": "average", "lookahead": "average"}


def _what(part: dict[str, Any]) -> str:
    """Return the kind of a callback of which a job may have only one."""
    return str(KINDS.get(part["name"], part["name"]))


SPEEDY_LAYERS: list[dict[str, Any]] = [
    {"type": "whitening"},
    {"type": "gelu"},
    {"type": "conv2d", "out": 8, "kernel": 3, "bias": False, "init": "dirac"},
    {"type": "batch_norm", "scale": False, "momentum": 0.4},
    {"type": "flatten"},
    {"type": "linear", "out": 3},
    {"type": "scale", "factor": 0.2},
]
SHARE = st.sampled_from([0.0, 0.3])
ARCHITECTURES = st.one_of(
    st.fixed_dictionaries(
        {
            "name": st.just("convnet"),
            "channels": st.sampled_from([[4], [4, 6]]),
            "head": st.sampled_from([[], [8]]),
            "batch_norm": st.booleans(),
            "dropout": SHARE,
        }
    ),
    st.fixed_dictionaries({"name": st.just("mlp"), "hidden": st.sampled_from([[8], [8, 4]]), "dropout": SHARE}),
    st.just({"name": "layers", "layers": SPEEDY_LAYERS}),
)
TRANSFORMS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.sampled_from(
        [
            {"name": "horizontal_flip"},
            {"name": "alternating_flip"},
            {"name": "cutout", "size": 3},
            {"name": "vertical_flip", "p": 0.3},
            {"name": "affine", "degrees": 20.0, "translate": 0.1},
            {"name": "random_crop", "padding": 1},
            {"name": "random_resized_crop", "scale": [0.5, 1.0]},
            {"name": "random_erasing"},
            {"name": "color_jitter", "brightness": 0.4},
            {"name": "rand_augment"},
            {"name": "random_perspective"},
            {"name": "random_choice", "transforms": [{"name": "affine", "shear": 20.0}, {"name": "rotation"}]},
        ]
    ),
    max_size=3,
    unique_by=_name,
)
CALLBACKS: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.sampled_from(
        [
            {"name": "early_stopping", "patience": 1},
            {"name": "keep_best", "monitor": "valid_accuracy"},
            {"name": "gradient_clip", "max_norm": 0.5},
            {"name": "model_checkpoint", "every_epochs": 2, "keep": 1},
            {"name": "csv_logger"},
            {"name": "confusion_matrix"},
            {"name": "worst_samples", "count": 3},
            {"name": "freeze", "match": "*.weight", "until_epoch": 1},
            {"name": "freeze", "match": "*.bias", "from_epoch": 2, "freeze_bn_stats": False},
            {"name": "mixup"},
            {"name": "cutmix"},
            {"name": "ema", "decay": 0.9},
            {"name": "swa", "start": 0.4},
            {"name": "lookahead", "k": 2, "alpha": 1.0, "final_alpha": 0.3, "average_statistics": True},
        ]
    ),
    max_size=6,
    unique_by=_what,
)
SCHEDULES: list[dict[str, Any] | None] = [
    None,
    {"name": "step", "step_size": 2, "gamma": 0.5},
    {"name": "cosine"},
    {"name": "exponential", "gamma": 0.9},
    {"name": "lambda", "factors": [1.0, 0.3]},
    {"name": "sequential", "schedules": [{"name": "linear"}, {"name": "cosine"}], "milestones": [2]},
    {
        "name": "sequential",
        "schedules": [{"name": "constant"}, {"name": "step", "step_size": 2}],
        "milestones": [3],
        "call_on": "train_batch_end",
    },
    {"name": "plateau", "patience": 0},
    {"name": "one_cycle", "max_lr": 0.02},
]


OPTIMIZERS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        *({"name": name, "lr": 0.01} for name in ("sgd", "rmsprop", "adagrad", *sorted(MOMENTUM))),
        {"name": "muon", "lr": 0.01, "convolutions": True, "constant_norm": True},
    ]
)
SEVERAL: st.SearchStrategy[dict[str, Any]] = st.tuples(OPTIMIZERS, OPTIMIZERS).map(
    lambda two: {
        "name": "several",
        "parts": [{"match": "*weight", "optimizer": two[0]}, {"match": "*", "optimizer": two[1]}],
    }
)


@st.composite
def jobs(draw: st.DrawFn) -> JobSpec:
    optimizer = draw(st.one_of(OPTIMIZERS, SEVERAL))
    names = {part["optimizer"]["name"] for part in optimizer.get("parts", ())} or {optimizer["name"]}
    schedules = SCHEDULES if names & MOMENTUM else SCHEDULES[:-1]
    return build_spec(
        architecture=draw(ARCHITECTURES),
        dataset={"name": "synthetic", "train_transforms": draw(TRANSFORMS)},
        optimizer=optimizer,
        schedule=draw(st.sampled_from(schedules)),
        callbacks=draw(CALLBACKS),
        precision=draw(st.sampled_from(["fp32", "bf16", "fp16"])),
        batch_size=draw(st.sampled_from([8, 11, 22])),
        drop_last=draw(st.booleans()),
        accumulate_batches=draw(st.sampled_from([1, 1, 2])),
        sampler=draw(st.sampled_from(["random", "random", "sequential", "weighted"])),
        epochs=3,
        seed=draw(st.integers(0, 2**32)),
    )


def collect_state(run: Run, folder: Path) -> dict[str, Any]:
    """Return everything that a snapshot holds, except the seconds."""
    frozen = snapshot.capture_snapshot(run.network, run.stateful_parts(), {})
    parts = frozen.document["parts"]
    del parts["state"]["seconds"]
    hashes = {name: tensor_file.write_tensors(folder / name, getattr(frozen, name)) for name in ("weights", "state")}
    return {"hashes": hashes, "parts": parts, "metrics": run.state.metrics}


def train(
    spec: JobSpec,
    packed: PackedDataset,
    channel: RecordingChannel,
    folder: Path,
    *,
    stop_at: int = 0,
    resume: bool = False,
) -> Run:
    precision: Precision = "fp32" if spec.precision == "auto" else spec.precision
    run = build_run(spec, packed, cpu_placement(precision))
    if resume:
        torch.rand(50)  # another random state before restoring
        snapshot.restore_snapshot(next(folder.iterdir()), run.network, run.stateful_parts(), torch.device("cpu"))
    snapshots = CheckpointCallback(channel, run, folder, {}, every_s=1e9)
    run.build_loop((MetricsCallback(channel, run, every_s=0.0), InterruptAt(stop_at), snapshots)).fit(run.state)
    return run


@pytest.mark.slow
# the scaler may skip the first steps of fp16; torch then warns that the optimizer never stepped
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")
@settings(
    max_examples=30,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes and finds nothing simpler
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    spec=jobs(),
    has_weights=st.booleans(),
    is_resident=st.booleans(),
    shares=st.tuples(st.floats(0, 0.5), st.floats(0.5, 1)),
)
def test_any_job_resumes_bit_identically(
    pack_dataset: Callable[..., PackedDataset],
    spec: JobSpec,
    has_weights: bool,
    is_resident: bool,
    shares: tuple[float, float],
) -> None:
    fits = patch.object(dataloaders, "fits_on_device", return_value=is_resident)  # as if the CPU were a GPU
    with tempfile.TemporaryDirectory() as name, fits:
        whole_channel = RecordingChannel()
        dataset = pack_dataset(num_samples=50, is_weighted=has_weights)
        whole = train(spec, dataset, whole_channel, Path(name) / "whole")
        expected = collect_state(whole, Path(name))
        steps = whole.state.step
        for number, share in enumerate(shares):
            stop_at = 1 + round(share * (steps - 1))
            event(f"inside an epoch: {stop_at % whole.state.steps_per_epoch != 0}")
            channel, folder = RecordingChannel(), Path(name) / str(number)
            first = train(spec, dataset, channel, folder, stop_at=stop_at)
            assert first.state.step == stop_at
            _keep_the_last(folder)
            second = train(spec, dataset, channel, folder, resume=True)
            assert collect_state(second, Path(name)) == expected
            assert channel.collect_points() == whole_channel.collect_points()


def _keep_the_last(folder: Path) -> None:
    *others, last = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime_ns)
    for other in others:
        other.rename(folder.parent / f"{folder.name}-{other.name}")
    assert last.is_dir()
