"""Responses about a sweep, as a server sends them."""

import json
from typing import Any

SWEEP_ID = "5e" * 16
COUNTS = dict.fromkeys(("total", "running", "paused", "interrupted", "succeeded", "stopped", "failed", "refused"), 0)
BEST: dict[str, Any] = {
    "number": 7,
    "score": 0.97251,
    "epochs": 9,
    "parameters": {"/optimizer/lr": 0.00421337, "/architecture/channels": [16, 32], "/optimizer/name": "sgd"},
    "jobs": ["a1" * 16],
}


def build_sweep_response(**changes: Any) -> dict[str, Any]:
    """Return a sweep of a list or an event."""
    return {
        "id": SWEEP_ID,
        "name": "digits-lr",
        "state": "running",
        "revision": 17,
        "finish_reason": None,
        "objective": {"metric": "valid_accuracy", "direction": "max", "value": "best"},
        "sampler": "tpe",
        "scheduler": "asha",
        "parallel": 4,
        "trials": COUNTS | {"total": 12, "running": 4, "paused": 5, "stopped": 2, "failed": 1},
        "budget": {
            "trials": {"used": 12, "limit": 60},
            "epochs": {"used": 40, "limit": None},
            "hours": {"used": 0.1, "limit": 4.0},
        },
        "best": BEST,
        "model": "digits-lr",
        "registered": None,
        "dataset": {"name": "digits", "version": 1},
        "elapsed_s": 360.0,
        "created_at": "2026-11-23T08:00:00Z",
        "updated_at": "2026-11-23T08:06:00Z",
        "finished_at": None,
    } | changes


def build_sweep_details(**changes: Any) -> dict[str, Any]:
    """Return a sweep with its milestones."""
    rungs = [
        {"epochs": 1, "num_trials": 12, "num_reached": 9, "best_score": 0.8},
        {"epochs": 3, "num_trials": 3, "num_reached": 2, "best_score": 0.95},
        {"epochs": 9, "num_trials": 1, "num_reached": 0, "best_score": None},
    ]
    return build_sweep_response(spec={}, rungs=rungs, links={}, **changes)


def build_trial_response(number: int, **changes: Any) -> dict[str, Any]:
    """Return a trial."""
    return {
        "number": number,
        "state": "running",
        "source": "sampler",
        "parameters": BEST["parameters"] | {"/callbacks/0/a_long_name_of_a_parameter": 12345678},
        "epochs": 3,
        "best_score": None,
        "scores": [],
        "reason": None,
        "jobs": ["a1" * 16],
    } | changes


def format_sweep_event(event_id: str, **changes: Any) -> str:
    """Return a message of an event stream."""
    payload = build_sweep_response(**changes)
    body = {"sweep": payload["id"], "seq": payload["revision"], "type": "sweep.updated", "payload": payload}
    return f"id: {event_id}\nevent: sweep.updated\ndata: {json.dumps(body)}\n\n"
