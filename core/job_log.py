"""Formats the lines of a job's log on attempts and jobs that failed."""

from collections.abc import Mapping
from typing import Any

from core.jobs import JobState

_RETRY_LIMIT = "; the retry limit"  # the end of default messages of failures; untrue while the job is retried
_OUTCOMES = {
    JobState.QUEUED: "The job is queued again.",
    JobState.PAUSED: "The job is paused, as requested.",
    JobState.CANCELLED: "The job is cancelled, as requested.",
    JobState.FAILED: "The retry limit is reached, so the job has failed.",
}


def describe_lost_attempt(
    failure: Mapping[str, Any], attempt: int, target: JobState, detail: str = ""
) -> dict[str, str]:
    """Return the payload of the log line of a lost attempt.

    Args:
        failure: the failure that `build_failure` returned.
        attempt: the number of the attempt.
        target: the state of the job after the attempt.
        detail: a sentence on how the attempt ended. Default: only the message of the failure is shown.
    """
    causes = [str(failure["message"]).partition(_RETRY_LIMIT)[0], *([detail] if detail else [])]
    cause = " ".join(map(end_sentence, causes))
    text = f"Attempt {attempt} was lost ({failure['code']}): {cause} {_OUTCOMES[target]}"
    return {"level": "error" if target is JobState.FAILED else "warning", "message": text}


def describe_failure(failure: Mapping[str, Any], running_s: float | None = None) -> str:
    """Return the last line of a job that failed: one sentence on the cause, and the hint."""
    elapsed = "" if running_s is None else f" after {format_duration(running_s)} of running time"
    hint = str(failure.get("hint", ""))
    message = end_sentence(str(failure.get("message") or "no message"))
    return f"Failed{elapsed} ({failure['code']}): {message} {hint}".rstrip()


def format_duration(seconds: float) -> str:
    """Format a duration such as `0.42 s`, `12.3 s`, `3 min 5 s` or `2 h 10 min`."""
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def end_sentence(text: str) -> str:
    """Return the text on one line, with a period at its end."""
    line = " ".join(text.split())
    return line if line.endswith((".", "!", "?", "…")) else f"{line}."
