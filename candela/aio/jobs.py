"""Follows and controls one job."""

import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self

from candela.aio import events
from candela.aio.concurrency import sleep
from candela.aio.job_results import AsyncJobResults
from candela.aio.transport import AsyncTransport
from candela.errors import JobFailed
from candela.event_stream import is_milestone_pause
from candela.types import (
    FINISHED,
    MILESTONE,
    BestEpochMetrics,
    JobEvent,
    ModelVersionRef,
    Number,
    State,
)


class AsyncJob(AsyncJobResults):
    """A job of the server. `response` is the job as JSON, as of the last request; `refresh()` updates it."""

    @property
    def name(self) -> str:
        return self.response["name"]

    @property
    def state(self) -> State:
        return self.response["state"]

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def is_at_milestone(self) -> bool:
        """Whether the job is paused at a milestone of its spec. `resume` continues it to the next one."""
        return self.state == "paused" and self.response.get("stop_reason") == MILESTONE

    @property
    def latest_metrics(self) -> dict[str, Number]:
        """The metrics of the last complete epoch, for example `valid_accuracy`."""
        return self.response["metrics"]

    @property
    def best_epoch(self) -> BestEpochMetrics | None:
        """The best epoch and its metrics, if the job has the callback `keep_best`."""
        return self.response.get("metrics_best")

    @property
    def result(self) -> dict[str, Any] | None:
        """The result of a succeeded job. Jobs of the kind `train` have a `model` instead."""
        return self.response["result"]

    @property
    def model(self) -> ModelVersionRef | None:
        """The model version that a succeeded job registered."""
        return self.response["model"]

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.name!r} {self.state}>"

    def raise_for_failure(self) -> Self:
        """Return the job if it succeeded, else raise an exception.

        Raises:
            JobFailed: the job failed, was cancelled, or has not ended.
        """
        if self.state != "succeeded":
            raise JobFailed(self.id, self.state, self.response["failure"])
        return self

    async def refresh(self) -> Self:
        """Request the current state of the job and update this object."""
        self.response = await self._transport.request_json("GET", f"/v1/jobs/{self.id}")
        return self

    async def wait(self, timeout_s: float | None = None) -> Self:
        """Wait until the job has ended or is paused at a milestone (see `is_at_milestone`).

        Call `raise_for_failure()` afterwards to raise an exception if it failed.

        Raises:
            TimeoutError: the job still runs or waits after `timeout_s` seconds.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = 0.1
        while not ((await self.refresh()).is_finished or self.is_at_milestone):
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"job {self.id} is still {self.state} after {timeout_s} s")
            await sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)
        return self

    async def watch(self, after: str | None = None) -> AsyncGenerator[JobEvent, None]:
        """Yield the events of the job until it ends. With `after`, yield only the events after this event id.

        The events also end while the job is paused at a milestone (see `is_at_milestone`). After `resume`, call this
        method again with the `id` of the last event. Each complete epoch has one event of the type `epoch` (see
        `JobEvent`).
        """
        async with aclosing(events.watch_events(self._transport, self.id, after=after)) as received:
            async for event in received:
                yield event
                if event["type"] == "end":
                    await self.refresh()
                elif is_milestone_pause(event) and (await self.refresh()).is_at_milestone:
                    return

    async def cancel(self, *, force: bool = False) -> Self:
        """Cancel the job. With `force`, cancel it at once, without writing a last checkpoint."""
        return await self._post("cancel", params={"force": "true" if force else None}, repeatable=True)

    async def pause(self) -> Self:
        """Pause the job. `resume` continues it."""
        return await self._post("pause")

    async def resume(self) -> Self:
        """Resume the paused job."""
        return await self._post("resume")

    async def finish(self) -> Self:
        """Finish the job after the current epoch, evaluate the model and register it."""
        return await self._post("finish")

    async def extend(self, epochs: int, *, schedule: Mapping[str, Any] | None = None) -> Self:
        """Train a succeeded job for more epochs.

        Args:
            epochs: number of additional epochs.
            schedule: a new schedule for these epochs, for example `{"name": "cosine"}`. Default: the schedule of the
                job continues; after its planned end, the learning rate is constant.
        """
        body = {"epochs": epochs} | ({} if schedule is None else {"schedule": dict(schedule)})
        return await self._post("extend", json=body)

    async def register(self) -> Self:
        """Register the model of a succeeded job with `register: false`. A second call has no effect."""
        return await self._post("register", repeatable=True)

    async def clone(self, changes: Mapping[str, Any] | None = None) -> "AsyncJob":
        """Submit a new job with the spec of this job, and return the new job.

        Args:
            changes: a JSON merge patch of the spec, for example `{"optimizer": {"lr": 0.01}}`. A field that is None
                gets its default.
        """
        # Not repeatable: every request creates a job.
        path = f"/v1/jobs/{self.id}/clone"
        return AsyncJob(self._transport, await self._transport.request_json("POST", path, json=dict(changes or {})))

    async def reproduce(
        self, changes: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None
    ) -> "AsyncJob":
        """Submit a job that trains again as this job did, and return it.

        Its `result` has the `verdict`: `identical`, `equal_metrics` or `different`.

        Args:
            changes: a JSON merge patch of the spec, for example `{"seed": 2}`. Default: nothing is changed.
            idempotency_key: requests with the same key and changes return the same job. Default: a random key.
        """
        return await submit_reproduction(self._transport, f"/v1/jobs/{self.id}", changes, idempotency_key)

    async def dry_run_reproduction(self, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what `reproduce` would submit: its resolved `spec`, `num_parameters` and `output_shape`."""
        return await dry_run_reproduction(self._transport, f"/v1/jobs/{self.id}", changes)

    async def delete(self) -> None:
        """Delete the job with its checkpoints and artifacts. Models that it registered remain."""
        await self._transport.request("DELETE", f"/v1/jobs/{self.id}")

    async def set_priority(self, priority: int) -> Self:
        """Set the priority. Jobs with a higher priority run first; the default is 0."""
        return await self._change({"priority": priority})

    async def set_tags(self, tags: Sequence[str]) -> Self:
        """Set all tags of the job, in any state. An empty list deletes them."""
        return await self._change({"tags": list(tags)})

    async def set_note(self, note: str | None) -> Self:
        """Set the note of the job, which is Markdown, in any state. None deletes it."""
        return await self._change({"note": note})

    async def _change(self, changes: Mapping[str, Any]) -> Self:
        path = f"/v1/jobs/{self.id}"
        self.response = await self._transport.request_json("PATCH", path, json=dict(changes), repeatable=True)
        return self

    async def _post(self, action: str, **options: Any) -> Self:  # noqa: ANN401 - options of the transport
        self.response = await self._transport.request_json("POST", f"/v1/jobs/{self.id}/{action}", **options)
        return self


async def submit_reproduction(
    transport: AsyncTransport, path: str, changes: Mapping[str, Any] | None, idempotency_key: str | None
) -> AsyncJob:
    """Repeat the training of the job or model version at a path. The request is repeated after connection errors."""
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    body = {"changes": dict(changes or {})}
    response = await transport.request_json("POST", f"{path}/reproduce", json=body, headers=headers, repeatable=True)
    return AsyncJob(transport, response)


async def dry_run_reproduction(
    transport: AsyncTransport, path: str, changes: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what `submit_reproduction` would submit."""
    body, params = {"changes": dict(changes or {})}, {"dry_run": "true"}
    response: dict[str, Any] = await transport.request_json(
        "POST", f"{path}/reproduce", json=body, params=params, repeatable=True
    )
    return response
