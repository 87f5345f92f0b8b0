"""Hypothesis strategies of jobs as the server returns them: any name, state, progress and metrics."""

from typing import Any

from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
IDS = st.text("0123456789abcdef", min_size=32, max_size=32)
STATES = ("queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled")
METRIC_NAMES = st.one_of(
    st.sampled_from(["train_loss", "valid_loss", "valid_accuracy", "valid_f1", "test_top_5_accuracy"]),
    st.from_regex(r"[a-z0-9][a-z0-9_]{0,40}", fullmatch=True),
)
VALUES = st.one_of(st.floats(), st.floats(0, 1), st.sampled_from(["NaN", "Infinity", "-Infinity"]))
METRICS = st.dictionaries(METRIC_NAMES, VALUES, max_size=8)
COUNTS = st.integers(0, 10**6)
SECONDS = st.one_of(st.none(), st.floats(0, 10**7))


@st.composite
def build_progress(draw: st.DrawFn) -> dict[str, Any]:
    epochs, steps = draw(st.integers(1, 10**6)), draw(st.integers(1, 10**9))
    progress = {
        "epoch": draw(st.integers(0, epochs)),
        "epochs": epochs,
        "step": draw(st.integers(0, steps)),
        "steps": steps,
        "eta_seconds": draw(SECONDS),
    }
    return draw(st.sampled_from([progress, {}]))


@st.composite
def build_job_response(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "id": draw(IDS),
        "name": draw(NAMES),
        "state": draw(st.sampled_from(STATES)),
        "attempt": 1,
        "progress": draw(build_progress()),
        "metrics": draw(METRICS),
        "duration_s": draw(SECONDS),
        "created_at": "2026-11-30T08:00:00Z",
        "transitions": [{"to": "queued", "at": "2026-11-30T08:00:00Z", "reason": "submitted"}],
        "stop_reason": None,
        "model": None,
        "failure": None,
    }
