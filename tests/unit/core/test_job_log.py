"""Lines of a job's log on attempts and jobs that failed."""

import pytest

from core.failures import FAILURES, build_failure
from core.job_log import describe_failure, describe_lost_attempt, end_sentence, format_duration
from core.jobs import JobState


@pytest.mark.parametrize("code", [code for code, kind in FAILURES.items() if kind.is_retried])
def test_a_lost_attempt_that_is_retried_does_not_say_that_the_limit_is_reached(code: str) -> None:
    line = describe_lost_attempt(build_failure(code), 2, JobState.QUEUED)
    assert line["level"] == "warning"
    assert line["message"].startswith(f"Attempt 2 was lost ({code}): ")
    assert line["message"].endswith("The job is queued again.")
    assert "limit" not in line["message"]


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.PAUSED, JobState.CANCELLED, JobState.FAILED])
def test_a_lost_attempt_names_what_happens_to_the_job(state: JobState) -> None:
    line = describe_lost_attempt(build_failure("stalled"), 1, state, "The trainer was killed")
    assert line["message"].count(".") == 3
    assert "The trainer was killed. " in line["message"]
    assert str(state) in line["message"]
    assert line["level"] == ("error" if state is JobState.FAILED else "warning")


@pytest.mark.parametrize("code", FAILURES)
def test_a_failure_is_one_line_with_its_code_message_and_hint(code: str) -> None:
    line = describe_failure(build_failure(code, "two\n  lines", "Do this."), 61.0)
    assert line == f"Failed after 1 min 1 s of running time ({code}): two lines. Do this."


def test_a_failure_before_the_start_has_no_running_time() -> None:
    assert describe_failure({"code": "dependency_failed", "message": "The import failed."}) == (
        "Failed (dependency_failed): The import failed."
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.1234, "0.123 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 0 s"),
        (185.0, "3 min 5 s"),
        (7800.0, "2 h 10 min"),
    ],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("text", "sentence"), [("a", "a."), ("a.", "a."), (" a\n b? ", "a b?")])
def test_a_sentence_ends_once(text: str, sentence: str) -> None:
    assert end_sentence(text) == sentence
