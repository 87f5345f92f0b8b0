"""The lineage tree of the command line."""

from typing import Any

import pytest

from candela.rendering import lineage_view, terminal

JOB: dict[str, Any] = {
    "id": "job:ab",
    "kind": "job",
    "is_deleted": False,
    "job_id": "abcdef0123456789",
    "name": "fine [tune]",
    "state": "succeeded",
    "attempts": [{}, {}],
    "environment": {"torch": "2.14.1", "revision": "0123456789abcdef"},
}
MODEL: dict[str, Any] = {
    "id": "model:head@2",
    "kind": "model",
    "is_deleted": False,
    "name": "head",
    "version": 2,
    "sha256": "f" * 64,
    "metrics": {"train_loss": 0.1, "valid_loss": "NaN", "valid_accuracy": 0.75},
}
DATASET: dict[str, Any] = {
    "id": "dataset:pets@1",
    "kind": "dataset",
    "is_deleted": True,
    "name": "pets",
    "version": 1,
    "content_hash": None,
}


def render(nodes: list[dict[str, Any]], edges: list[tuple[str, str, str]], capsys: pytest.CaptureFixture[str]) -> str:
    named = [dict(zip(("source", "target", "role"), edge, strict=True)) for edge in edges]
    lineage_view.print_lineage({"nodes": nodes, "edges": named, "is_complete": False})
    return capsys.readouterr().out


def test_the_sources_of_each_thing_are_below_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.console, "width", 200)
    edges = [("job:ab", "model:head@2", "registered"), ("dataset:pets@1", "job:ab", "dataset")]
    lines = render([MODEL, JOB, DATASET], edges, capsys).splitlines()
    assert lines[0].startswith("head@2  sha256 ffffffffffff  valid_accuracy 0.75  valid_loss nan")
    assert "registered by job fine [tune]  abcdef01  succeeded  2 attempts  2.14.1  commit 0123456789ab" in lines[1]
    assert lines[2].endswith("uses dataset pets@1 deleted")
    assert lines[3] == "and more ancestors"


def test_a_thing_that_several_need_is_described_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.console, "width", 200)
    other = JOB | {"id": "job:cd", "name": "other", "job_id": "cdef"}
    edges = [
        ("job:ab", "model:head@2", "registered"),
        ("dataset:pets@1", "job:ab", "dataset"),
        ("job:cd", "job:ab", "cloned"),
        ("dataset:pets@1", "job:cd", "dataset"),
    ]
    text = render([MODEL, JOB, DATASET, other], edges, capsys)
    assert text.count("dataset pets@1 deleted") == 1
    assert "uses dataset:pets@1 (see above)" in text
