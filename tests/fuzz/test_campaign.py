"""The harness finds what fails, ends what exceeds its budget, and continues."""

from pathlib import Path

import pytest

from tests.fuzz.budget import Budget
from tests.fuzz.campaign import HarnessError, TargetCampaign
from tests.support import faulty_targets

MODULE = faulty_targets.__name__
BUDGET = Budget(cpu_s=0.5, wall_s=3.0)


def build_campaign(folder: Path, target: str = "correct") -> TargetCampaign:
    return TargetCampaign(f"{MODULE}:{target}", "seeded", folder, BUDGET)


@pytest.mark.parametrize(
    ("body", "report"),
    [
        (faulty_targets.CRASH, "crash: KeyError"),
        (faulty_targets.MEMORY, "memory: MemoryError"),
        (faulty_targets.LOOP, "in run_faulty"),
        (faulty_targets.NATIVE_LOOP, "in run_faulty"),
        (faulty_targets.DEATH, "Segmentation fault"),
    ],
)
def test_a_failure_is_reproduced_with_its_traceback(body: bytes, report: str, tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(body)
    assert report in (build_campaign(tmp_path).reproduce(file) or "")


def test_an_input_without_a_failure_is_not_reported(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"a")
    assert build_campaign(tmp_path).reproduce(file) is None


def test_a_target_without_a_bug_has_no_findings(tmp_path: Path) -> None:
    figures = build_campaign(tmp_path).run(60, 50)
    assert (figures.num_inputs, figures.findings) == (50, [])


def test_a_crash_is_stored_once_and_minimized(tmp_path: Path) -> None:
    figures = build_campaign(tmp_path, "crash").run(60, 50)
    [finding] = figures.findings
    assert finding.path.read_bytes() == faulty_targets.CRASH
    assert finding.place == "KeyError in faulty_targets.py:run_faulty"
    assert figures.num_inputs == 50


def test_a_slow_input_is_stored_and_the_others_run(tmp_path: Path) -> None:
    figures = build_campaign(tmp_path, "loop").run(60, 20)
    [finding] = figures.findings
    assert finding.kind == "timeout"
    assert finding.path.read_bytes() == faulty_targets.LOOP
    assert figures.num_inputs == 20


def test_an_input_that_waits_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(faulty_targets.WAIT)
    assert "in run_faulty" in (build_campaign(tmp_path).reproduce(file) or "")
    [finding] = (tmp_path / "findings" / f"{MODULE}:correct").glob("*.bin")
    assert finding.name.startswith("timeout")


def test_a_target_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no_target"):
        build_campaign(tmp_path, "no_target").run(60, 1)
