"""The commands of `candela datasets` for versions: their requests and their output in 80 columns."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from candela.cli import main
from candela.rendering import terminal

Run = Callable[..., tuple[int, str, str]]
VERSION = "/v1/datasets/pets/versions/2"
COUNTS = {"added": 0, "removed": 1, "relabelled": 0, "moved": 2, "changed": 0}


@pytest.fixture
def run(server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line against the scripted server: its exit status, standard output and standard error."""
    monkeypatch.setenv("CANDELA_URL", server.url)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["candela", "datasets", *map(str, arguments)])
        monkeypatch.setattr(terminal, "console", Console(highlight=False, width=80))
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return call


def post_edit(server: Any, run: Run, *options: str | Path) -> list[dict[str, Any]]:
    """Return the operations that the command sends."""
    server.json(f"POST {VERSION}/edits", {"version": 3, "state": "importing", "warnings": []}, 202)
    status, _, errors = run("edit", "pets", "2", "--no-wait", *options)
    assert status == 0, errors
    operations: list[dict[str, Any]] = server.seen[-1].json()["operations"]
    return operations


def test_options_become_operations_in_a_fixed_order(server: Any, run: Run) -> None:
    options = ["--cap", "5", "--keep", "cat", "--keep", "dog", "--rename", "kitten=cat", "--drop-class", "bird"]
    options += ["--relabel", "a=b.png=dog", "--move", "x.png=test", "--drop", "y.png", "--drop", "z.png"]
    options += ["--across-splits", "--drop-duplicates", "--drop-conflicts", "--drop-blank"]
    assert post_edit(server, run, *options) == [
        {"kind": "drop_blank"},
        {"kind": "drop_conflicts"},
        {"kind": "drop_duplicates", "scope": "across_splits"},
        {"kind": "drop_samples", "samples": ["y.png", "z.png"]},
        {"kind": "move_samples", "samples": ["x.png"], "split": "test"},
        {"kind": "relabel", "samples": ["a=b.png"], "label": "dog"},
        {"kind": "rename_classes", "classes": {"kitten": "cat"}},
        {"kind": "drop_classes", "classes": ["bird"]},
        {"kind": "keep_classes", "classes": ["cat", "dog"]},
        {"kind": "cap_per_class", "max_samples": 5},
    ]


def test_operations_are_read_from_a_file_with_numbers_as_classes(server: Any, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "edit.yaml"
    file.write_text("- {kind: relabel, samples: [17], label: 8}\n- {kind: rename_classes, classes: {0: zero, 1: 7}}\n")
    assert post_edit(server, run, "--file", file, "--drop-blank") == [
        {"kind": "relabel", "samples": ["17"], "label": "8"},
        {"kind": "rename_classes", "classes": {"0": "zero", "1": "7"}},
        {"kind": "drop_blank"},
    ]
    file.write_text("operations:\n- kind: cap_per_class\n  max_samples: 3\n")
    assert post_edit(server, run, "--file", file) == [{"kind": "cap_per_class", "max_samples": 3}]


@pytest.mark.parametrize("text", ["kind: drop_blank", "- drop_blank", "a: [", "\xff\xfe"])
def test_a_file_without_operations_is_an_error(text: str, server: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "edit.yaml").write_bytes(text.encode("latin-1"))
    status, _, errors = run("edit", "pets", "2", "--file", tmp_path / "edit.yaml")
    assert (status, server.seen) == (1, [])
    assert "edit.yaml" in errors


@pytest.mark.parametrize("options", [[], ["--relabel", "a.png"], ["--rename", "=x"]])
def test_wrong_options_are_rejected_before_sending(options: list[str], server: Any, run: Run) -> None:
    status, _, _ = run("edit", "pets", "2", *options)
    assert (status != 0, server.seen) == (True, [])


def test_a_failed_edit_sets_the_exit_status(server: Any, run: Run) -> None:
    failed = {"version": 3, "state": "failed", "failure": {"message": "unknown sample", "hint": "Change it."}}
    server.json(f"POST {VERSION}/edits", {"version": 3, "state": "importing"}, 202)
    server.json("GET /v1/datasets/pets/versions/3", failed)
    status, printed, _ = run("edit", "pets", "2", "--drop", "x")
    assert (status, "unknown sample" in printed) == (1, True)


def build_comparison(**changes: Any) -> dict[str, Any]:
    sample = {"split": "test", "name": "b.png", "label": "cat"}
    moved = sample | {"base_split": "train", "base_name": "a.png", "base_label": "cat"}
    return {
        "name": "pets",
        "version": 2,
        "base_name": "pets",
        "base_version": 1,
        "is_identical": False,
        "by": "content",
        "num_unchanged": 7,
        "classes_added": [],
        "classes_removed": ["[bird]"],
        "splits": {"test": COUNTS | {"classes": {"cat": COUNTS}}},
        "samples": {kind: [] for kind in COUNTS} | {"moved": [moved] * 12},
        **changes,
    }


def test_a_diff_is_printed_in_80_columns(server: Any, run: Run) -> None:
    server.json(f"GET {VERSION}/diff", build_comparison())
    status, printed, _ = run("diff", "pets", "1", "2")
    lines = printed.splitlines()
    assert (status, server.seen[0].query["base"]) == (0, "1")
    assert lines[0] == "pets version 1 -> pets version 2: 7 samples are unchanged"
    assert "removed classes: [bird]" in lines
    assert lines[2].split() == ["SPLIT", "CLASS", "ADDED", "REMOVED", "RELABELLED", "MOVED", "CHANGED"]
    assert [line.split() for line in lines[3:5]] == [["test", "1", "2"], ["cat", "1", "2"]]
    assert "  train a.png (cat) -> test b.png (cat)" in lines
    assert lines[-1] == "  … (--json prints all of 12)"
    assert max(map(len, lines)) <= 80


def test_identical_versions_are_one_line(server: Any, run: Run) -> None:
    server.json(f"GET {VERSION}/diff", build_comparison(is_identical=True))
    assert run("diff", "pets", "1", "2")[1] == "pets version 2 and pets version 1 are identical: 7 samples\n"


def test_a_report_is_printed(server: Any, run: Run) -> None:
    groups = {"num_groups": 1, "items": [[{"split": "train", "name": "a.png"}, {"split": "test", "name": "b.png"}]]}
    report = {
        "name": "pets",
        "version": 2,
        "state": "ready",
        "num_unreadable": 1,
        "warnings": ["A [warning]."],
        "splits": {"train": {"num_samples": 5, "classes": {"cat": 3, "dog": 2}}},
        "duplicates": groups,
        "leaks": groups,
        "label_conflicts": {"num_groups": 0, "items": []},
        "unreadable": [{"name": "c.png", "reason": "is damaged"}],
        "edits": [{"kind": "drop_blank", "num_samples": 4}],
    }
    server.json(f"GET {VERSION}/report", report)
    status, printed, _ = run("report", "pets", "2")
    lines = [line.rstrip() for line in printed.splitlines()]
    assert (status, lines[0]) == (0, "train: 5 samples")
    expected = (
        "drop_blank: 4 samples",
        "equal, in several splits: 1 group",
        "  a.png (train), b.png (test)",
        "A [warning].",
    )
    assert [line for line in [*expected, "A [warning]."] if line not in lines] == []
    assert "unreadable: c.png: is damaged" in lines
    assert json.loads(run("report", "pets", "2", "--json")[1]) == report


def test_an_export_and_a_preview_are_saved(server: Any, run: Run, tmp_path: Path) -> None:
    server.stream(f"GET {VERSION}/export", "zip", "application/zip")
    server.stream(f"GET {VERSION}/preview", "png", "image/png")
    assert run("export", "pets", "2", tmp_path)[:2] == (0, f"{tmp_path}/pets-2.zip\n")
    assert run("preview", "pets", "2", tmp_path / "x.png")[:2] == (0, f"{tmp_path}/x.png\n")
    assert [(tmp_path / name).read_bytes() for name in ("pets-2.zip", "x.png")] == [b"zip", b"png"]


def test_a_version_is_deleted(server: Any, run: Run) -> None:
    server.text(f"DELETE {VERSION}", "", 204)
    assert run("delete", "pets", "2")[:2] == (0, "deleted pets version 2\n")
    assert [seen.method for seen in server.seen] == ["DELETE"]
