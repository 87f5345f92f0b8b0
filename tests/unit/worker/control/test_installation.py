"""The description of the worker's machine and installation."""

import platform
from pathlib import Path

import pytest

from core.source_revision import get_lock_hash, get_revision
from worker.control import installation


def test_the_description_identifies_the_code_and_its_dependencies() -> None:
    described = installation.describe_installation()
    assert described["revision"] == get_revision()
    assert described["lock_sha256"] == get_lock_hash()
    assert described["python"] == platform.python_version()


def test_the_processor_has_its_first_model_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\n\nprocessor\t: 1\nmodel name\t: Other\n")
    monkeypatch.setattr(installation, "CPU_INFO", file)
    assert installation.read_processor_name() == "Fast CPU @ 3 GHz"


@pytest.mark.parametrize("content", [None, "processor\t: 0\n"])
def test_a_processor_without_a_name_is_described_by_the_platform(
    content: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    monkeypatch.setattr(installation, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "aarch64")
    assert installation.read_processor_name() == "aarch64"
