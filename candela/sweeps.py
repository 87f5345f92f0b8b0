# Generated from candela/aio/sweeps.py by `make sdk`. Edit that file.
"""Submits, follows and controls sweeps."""

import uuid
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any, cast

from candela import events
from candela.pagination import iterate_items
from candela.sweep_types import SweepDryRunResponse, SweepImportanceResponse, SweepResponse, SweepTrialResponse
from candela.synonyms import SuggestsNames
from candela.transport import Transport


class Sweeps(SuggestsNames):
    """The sweeps of a server, available as `client.sweeps`. Methods take the id of a sweep and return JSON."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> SweepResponse:
        """Submit a sweep. The request is repeated after connection errors, but only one sweep is created.

        Args:
            spec: the body of `POST /v1/sweeps`; only `base` and `space` are required.
            idempotency_key: requests with the same key and spec return the same sweep. Default: a random key.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        response: SweepResponse = self._transport.request_json(
            "POST", "/v1/sweeps", json=dict(spec), headers=headers, repeatable=True
        )
        return response

    def dry_run(self, spec: Mapping[str, Any]) -> SweepDryRunResponse:
        """Validate a sweep without submitting it. Return its first trials, and estimates of its costs."""
        response: SweepDryRunResponse = self._transport.request_json(
            "POST", "/v1/sweeps", json=dict(spec), params={"dry_run": "true"}, repeatable=True
        )
        return response

    def get(self, sweep_id: str) -> SweepResponse:
        """Return a sweep with its spec and the milestones of its trials."""
        response: SweepResponse = self._transport.request_json("GET", f"/v1/sweeps/{sweep_id}")
        return response

    def list(
        self,
        *,
        id: str | None = None,
        state: str | None = None,
        name: str | None = None,
        q: str | None = None,
        limit: int | None = None,
    ) -> Generator[SweepResponse, None]:
        """Yield at most `limit` sweeps, newest first; default: all.

        Args:
            id: only sweeps whose id starts with these hexadecimal digits.
            state: only sweeps in this state.
            name: only sweeps with this name.
            q: only sweeps whose name has this text, or whose id starts with it.
            limit: maximum number of sweeps.
        """
        params = {"id": id, "state": state, "name": name, "q": q}
        for item in iterate_items(self._transport, "/v1/sweeps", params=params, limit=limit):
            yield item

    def trials(
        self, sweep_id: str, *, sort: str | None = None, state: str | None = None, limit: int | None = None
    ) -> Generator[SweepTrialResponse, None]:
        """Yield at most `limit` trials of a sweep, by number; default: all.

        Args:
            sweep_id: the id of the sweep.
            sort: the order: `number`, `score` or `epochs`; with `-` before it, in descending order.
            state: only trials in this state.
            limit: maximum number of trials.
        """
        params, path = {"sort": sort, "state": state}, f"/v1/sweeps/{sweep_id}/trials"
        for item in iterate_items(self._transport, path, params=params, limit=limit):
            yield item

    def add_trial(self, sweep_id: str, parameters: Mapping[str, Any]) -> SweepTrialResponse:
        """Add a trial to a running sweep. `parameters` are keyed by JSON pointer."""
        # Not repeatable: every request creates a trial.
        body = {"parameters": dict(parameters)}
        trial: SweepTrialResponse = self._transport.request_json("POST", f"/v1/sweeps/{sweep_id}/trials", json=body)
        return trial

    def importance(self, sweep_id: str) -> SweepImportanceResponse:
        """Return how much each parameter matters for the score. The computation takes seconds."""
        report: SweepImportanceResponse = self._transport.request_json("GET", f"/v1/sweeps/{sweep_id}/importance")
        return report

    def watch(self, sweep_id: str | None = None) -> Generator[SweepResponse, None]:
        """Yield the state of a sweep now and after its changes, until it ends; without an id, of all sweeps forever.

        States that follow within two seconds may be left out. They have no `spec`, `rungs` and `links`.
        """
        with closing(events.watch_sweep_events(self._transport, sweep_id)) as received:
            for event in received:
                yield cast("SweepResponse", event["payload"])

    def pause(self, sweep_id: str) -> SweepResponse:
        """Pause a sweep and its jobs. `resume` continues them."""
        return self._post(sweep_id, "pause", repeatable=True)

    def resume(self, sweep_id: str) -> SweepResponse:
        """Resume a paused sweep."""
        return self._post(sweep_id, "resume")

    def cancel(self, sweep_id: str) -> SweepResponse:
        """Cancel a sweep and its jobs. Its trials and their scores remain."""
        return self._post(sweep_id, "cancel", repeatable=True)

    def finish(self, sweep_id: str) -> SweepResponse:
        """Finish a sweep early, and register its best trial."""
        return self._post(sweep_id, "finish", repeatable=True)

    def extend(self, sweep_id: str, budget: Mapping[str, Any]) -> SweepResponse:
        """Change limits of the budget, for example `{"trials": 100}`; None removes one. An ended sweep continues."""
        return self._post(sweep_id, "extend", json=dict(budget))

    def delete(self, sweep_id: str, *, jobs: bool = False) -> None:
        """Delete a sweep that has ended. Its jobs and models remain.

        Args:
            sweep_id: the id of the sweep.
            jobs: delete its jobs too, with their checkpoints. Models that they have registered must be deleted first.
        """
        params = {"jobs": "true"} if jobs else None
        self._transport.request("DELETE", f"/v1/sweeps/{sweep_id}", params=params)

    def _post(self, sweep_id: str, action: str, **options: Any) -> SweepResponse:  # noqa: ANN401 - options of the transport
        response: SweepResponse = self._transport.request_json("POST", f"/v1/sweeps/{sweep_id}/{action}", **options)
        return response
