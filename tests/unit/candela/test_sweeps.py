"""Requests of the SDK for sweeps."""

from typing import Any

from candela import Client
from tests.support.sweep_responses import SWEEP_ID, build_sweep_response, format_sweep_event

PATH = f"/v1/sweeps/{SWEEP_ID}"


def test_a_sweep_is_created_once(server: Any, client: Client) -> None:
    server.json("POST /v1/sweeps", {"title": "x", "status": 503}, 503)
    server.json("POST /v1/sweeps", build_sweep_response(), 202)
    assert client.sweeps.create({"base": {}, "space": {}})["id"] == SWEEP_ID
    keys = [seen.headers["idempotency-key"] for seen in server.seen]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_trial_is_added_with_its_parameters(server: Any, client: Client) -> None:
    server.json(f"POST {PATH}/trials", {"number": 3}, 202)
    assert client.sweeps.add_trial(SWEEP_ID, {"/optimizer/lr": 0.1})["number"] == 3
    assert server.seen[0].json() == {"parameters": {"/optimizer/lr": 0.1}}


def test_lists_read_all_pages(server: Any, client: Client) -> None:
    server.json(f"GET {PATH}/trials", {"items": [{"number": 0}, {"number": 1}], "next_cursor": "c"})
    server.json(f"GET {PATH}/trials", {"items": [{"number": 2}], "next_cursor": None})
    assert [trial["number"] for trial in client.sweeps.trials(SWEEP_ID, sort="score")] == [0, 1, 2]


def test_a_sweep_is_watched_until_it_ends_also_after_a_lost_connection(server: Any, client: Client) -> None:
    server.stream("GET /v1/events", format_sweep_event("a") + format_sweep_event("b", revision=18))
    server.stream("GET /v1/events", format_sweep_event("c", revision=19, state="succeeded"))
    states = [(sweep["revision"], sweep["state"]) for sweep in client.sweeps.watch(SWEEP_ID)]
    assert states == [(17, "running"), (18, "running"), (19, "succeeded")]
    assert [seen.query for seen in server.seen] == [{"sweep": SWEEP_ID}] * 2
    assert server.seen[1].headers["last-event-id"] == "b"


def test_all_sweeps_are_watched_without_an_end(server: Any, client: Client) -> None:
    server.stream("GET /v1/events", format_sweep_event("a", state="succeeded") + format_sweep_event("b", name="next"))
    watched = client.sweeps.watch()
    assert [next(watched)["name"], next(watched)["name"]] == ["digits-lr", "next"]
    watched.close()
    assert server.seen[0].query == {"topic": "sweeps"}
