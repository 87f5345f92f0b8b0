"""Marks of unloaded models, which the API processes of one machine share."""

from pathlib import Path

from app.serving.unload_state import UnloadedFiles


def test_an_unloaded_model_is_unloaded_for_every_process(tmp_path: Path) -> None:
    first, second = UnloadedFiles(tmp_path / "unloaded"), UnloadedFiles(tmp_path / "unloaded")
    first.add("digits")
    assert "digits" in second
    assert "digits2" not in second
    second.discard("digits")
    second.discard("digits")
    assert "digits" not in first
