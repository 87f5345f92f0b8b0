"""Tests that snapshots of version 0.1 load under the present names."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.datasets.packed import PackedDataset
from tests.support.training import InterruptAt, build_small_run
from worker.engine import callbacks, legacy_names, snapshot
from worker.engine.legacy_names import update_document
from worker.engine.partial_restore import RestoreOptions, restore_partial
from worker.engine.run import Run

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train_tally", "train_accumulator"),
        ("relief", "oom_splitter"),
        ("switches", "disabled_callbacks"),
        ("callback_0_BatchSchedule", "callback_0_BatchLrScheduler"),
        ("callback_0_EpochSchedule", "callback_0_EpochLrScheduler"),
        ("callback_12_PlateauSchedule", "callback_12_PlateauLrScheduler"),
        ("callback_1_EarlyStopping", "callback_1_EarlyStopping"),
        ("state", "state"),
        ("optimizer", "optimizer"),
    ],
)
def test_part_gets_its_present_name(old: str, new: str) -> None:
    assert list(update_document({"parts": {old: {}}})["parts"]) == [new]


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("state", "is_cut_short", "stop_immediately"),
        ("train_tally", "mass", "total_weight"),
        ("train_tally", "pending_masses", "pending_weights"),
        ("callback_0_BatchSchedule", "_ends", "_momentum_range"),
    ],
)
def test_field_gets_its_present_name(part: str, old: str, new: str) -> None:
    (fields,) = update_document({"parts": {part: {old: 1, "other": 2}}})["parts"].values()
    assert fields == {new: 1, "other": 2}


def test_metadata_is_found_under_its_old_key() -> None:
    assert update_document({"words": {"threads": 2}, "parts": {}}) == {"metadata": {"threads": 2}, "parts": {}}


def test_present_names_stay() -> None:
    document = {
        "metadata": {},
        "parts": {
            "state": {"stop_immediately": False},
            "train_accumulator": {"total_weight": 1.0},
            "callback_0_BatchLrScheduler": {"last_epoch": 3},
        },
    }
    assert update_document(document) == document


@pytest.mark.parametrize("document", [{}, {"parts": None}, {"parts": {"state": 1}}])
def test_damaged_document_is_left_to_the_reader(document: dict[str, Any]) -> None:
    assert update_document(document) == document


def test_every_new_name_exists(packed: PackedDataset) -> None:
    run = build_full_run(packed)
    parts = run.stateful_parts()
    assert set(legacy_names.PARTS.values()) <= set(parts)
    assert all(hasattr(callbacks, name) for name in legacy_names.CALLBACK_CLASSES.values())
    for part, fields in legacy_names.PART_FIELDS.items():
        assert set(fields.values()) <= set(parts[part].state_dict())


def test_snapshot_with_old_names_resumes(packed: PackedDataset, tmp_path: Path) -> None:
    folder = write_snapshot_with_old_names(packed, tmp_path)
    resumed = build_full_run(packed)
    snapshot.restore_snapshot(folder, resumed.network, resumed.stateful_parts(), CPU)
    assert resumed.state.step == 3
    resumed.build_loop().fit(resumed.state)
    straight = build_full_run(packed)
    straight.build_loop().fit(straight.state)
    assert equal_weights(resumed.network, straight.network)
    assert snapshot.read_metadata(folder) == {"threads": 1}


def test_schedule_in_an_old_snapshot_can_be_restored_partially(packed: PackedDataset, tmp_path: Path) -> None:
    folder = write_snapshot_with_old_names(packed, tmp_path)
    options = RestoreOptions(optimizer=True, callbacks=True, schedule=True)
    assert "schedule" in restore_partial(build_full_run(packed), folder, options)


def build_full_run(packed: PackedDataset) -> Run:
    """Build a run that has every renamed part."""
    return build_small_run(
        packed,
        callbacks=[{"name": "early_stopping"}, {"name": "csv_logger"}],
        schedule={"name": "one_cycle", "max_lr": 0.02},
        on_oom="accumulate",
    )


def write_snapshot_with_old_names(packed: PackedDataset, tmp_path: Path) -> Path:
    """Write the snapshot of a run in the middle of an epoch, with the names of version 0.1."""
    run = build_full_run(packed)
    run.build_loop([InterruptAt(3)]).fit(run.state)
    snapshot.write_snapshot(tmp_path / "it", run.network, run.stateful_parts(), {"threads": 1})
    path = tmp_path / "it" / snapshot.METADATA
    path.write_text(json.dumps(restore_old_names(json.loads(path.read_bytes()))))
    return tmp_path / "it"


def restore_old_names(document: dict[str, Any]) -> dict[str, Any]:
    """Invert the table of old names."""
    old_parts = {new: old for old, new in legacy_names.PARTS.items()}
    old_classes = {new: old for old, new in legacy_names.CALLBACK_CLASSES.items()}
    parts = {}
    for name, part in document["parts"].items():
        fields = {new: old for old, new in legacy_names.PART_FIELDS.get(name, {}).items()}
        prefix, _, class_name = name.rpartition("_")
        old_name = f"{prefix}_{old_classes[class_name]}" if class_name in old_classes else old_parts.get(name, name)
        parts[old_name] = {fields.get(key, key): value for key, value in part.items()}
    return {"format_version": 1, "words": document["metadata"], "parts": parts}


def equal_weights(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in first.state_dict().items())
