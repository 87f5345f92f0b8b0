"""A sweep that is followed: as lines in a file, and as a table in a terminal."""

import io
from typing import Any

from rich.console import Console

from candela import Client
from candela.rendering.sweep_live_view import follow_sweep
from tests.support.sweep_responses import (
    SWEEP_ID,
    build_sweep_details,
    build_trial_response,
    format_sweep_event,
)

PATH = f"/v1/sweeps/{SWEEP_ID}"


def test_each_change_is_a_line(server: Any, client: Client) -> None:
    server.stream(
        "GET /v1/events",
        format_sweep_event("a")
        + format_sweep_event("b", revision=18)
        + format_sweep_event("c", revision=19, state="succeeded"),
    )
    server.json(f"GET {PATH}", build_sweep_details(state="succeeded"))
    out = io.StringIO()
    sweep = follow_sweep(client, SWEEP_ID, console=Console(file=out, force_terminal=False, width=200))
    assert sweep["state"] == "succeeded"
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["running", "succeeded"]
    assert "best valid_accuracy 0.9725" in out.getvalue()


def test_a_terminal_shows_the_newest_trials(server: Any, client: Client) -> None:
    server.stream("GET /v1/events", format_sweep_event("a", state="succeeded"))
    server.json(f"GET {PATH}", build_sweep_details(state="succeeded"))
    server.json(f"GET {PATH}/trials", {"items": [build_trial_response(11)], "next_cursor": None})
    out = io.StringIO()
    follow_sweep(client, SWEEP_ID, console=Console(file=out, force_terminal=True, width=80, height=20))
    assert "TRIAL" in out.getvalue()
    (request,) = [seen for seen in server.seen if seen.path.endswith("/trials")]
    assert request.query == {"sort": "-number", "limit": "8"}
