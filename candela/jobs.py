"""Jobs: submit, follow, steer and read them."""

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from candela import events
from candela.errors import JobFailed
from candela.pagination import pages
from candela.transport import Transport
from candela.types import FINISHED, Artifact, Checkpoint, Event, JobAnswer, ModelVersionRef, Number, Series, State


class Job:
    """One job. What it shows is as old as the last call; `refresh()` asks again.

    `answer` is the whole of what the server said.
    """

    def __init__(self, transport: Transport, answer: JobAnswer) -> None:
        self._transport = transport
        self.answer = answer

    @property
    def id(self) -> str:
        return self.answer["id"]

    @property
    def name(self) -> str:
        return self.answer["name"]

    @property
    def state(self) -> State:
        return self.answer["state"]

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def latest_metrics(self) -> dict[str, Number]:
        """The latest value by name, for example `valid_accuracy`."""
        return self.answer["metrics"]

    @property
    def result(self) -> dict[str, Any] | None:
        """What a job of another kind than `train` found, once it has succeeded."""
        return self.answer["result"]

    @property
    def model(self) -> ModelVersionRef | None:
        """The registered result of a job that succeeded."""
        return self.answer["model"]

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.name!r} {self.state}>"

    def refresh(self) -> Self:
        """Ask the server how the job is now."""
        self.answer = self._transport.json("GET", f"/v1/jobs/{self.id}")
        return self

    def wait(self, timeout_s: float | None = None) -> Self:
        """Return once the job is finished, whichever way; `check()` tells which.

        Raises:
            TimeoutError: it was not finished in time; it goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = 0.1
        while not self.refresh().is_finished:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"job {self.id} is still {self.state} after {timeout_s} s")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)
        return self

    def check(self) -> Self:
        """Return the job if it succeeded.

        Raises:
            JobFailed: it failed, was cancelled, or is not finished.
        """
        if self.state != "succeeded":
            raise JobFailed(self.id, self.state, self.answer["failure"])
        return self

    def watch(self, after: str | None = None) -> Iterator[Event]:
        """Yield the job's events until it ends, from the beginning or after the event with that id."""
        for event in events.watch(self._transport, self.id, after=after):
            yield event
            if event["type"] == "end":
                self.refresh()

    def cancel(self, *, force: bool = False) -> Self:
        """Stop it with what it has; by `force` at once, without a last checkpoint."""
        return self._ask("cancel?force=true" if force else "cancel", repeatable=True)

    def prioritise(self, priority: int) -> Self:
        """Jobs of a higher priority are taken first; 0 unless changed."""
        change = {"priority": priority}
        self.answer = self._transport.json("PATCH", f"/v1/jobs/{self.id}", json=change, repeatable=True)
        return self

    def artifacts(self) -> list[Artifact]:
        """The files that the job has left so far."""
        return list(self._transport.json("GET", f"/v1/jobs/{self.id}/artifacts")["items"])

    def download(self, name: str, path: str | os.PathLike[str]) -> Path:
        """Download a file that the job left, as `artifacts()` names them; returns its path.

        In a folder it keeps its name.
        """
        target = Path(path) / name if Path(path).is_dir() else Path(path)
        part = target.with_name(target.name + ".part")
        try:
            with (
                self._transport.stream("GET", f"/v1/jobs/{self.id}/artifacts/{name}") as answer,
                part.open("wb") as file,
            ):
                file.writelines(answer.iter_bytes())
            part.replace(target)  # a reader never sees half a file
        finally:
            part.unlink(missing_ok=True)
        return target

    def pause(self) -> Self:
        return self._ask("pause")

    def resume(self) -> Self:
        return self._ask("resume")

    def finish(self) -> Self:
        """Stop after this epoch, evaluate, and register the result."""
        return self._ask("finish")

    def delete(self) -> None:
        self._transport.request("DELETE", f"/v1/jobs/{self.id}")

    def metrics(
        self, *, name: str | None = None, split: str | None = None, max_points: int | None = None
    ) -> list[Series]:
        """The job's curves, thinned to `max_points` each if asked."""
        params = {"name": name, "split": split, "max_points": max_points}
        answer = self._transport.json("GET", f"/v1/jobs/{self.id}/metrics", params=drop_unset(params))
        return list(answer["series"])

    def logs(self) -> str:
        """The trainer's log lines."""
        return self._transport.request("GET", f"/v1/jobs/{self.id}/logs").text

    def checkpoints(self) -> list[Checkpoint]:
        return list(self._transport.json("GET", f"/v1/jobs/{self.id}/checkpoints")["items"])

    def _ask(self, action: str, *, repeatable: bool = False) -> Self:
        self.answer = self._transport.json("POST", f"/v1/jobs/{self.id}/{action}", repeatable=repeatable)
        return self


class Jobs:
    """`client.jobs`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Post a job. It is sent again when the connection fails, and stored once.

        Args:
            spec: as in `POST /v1/jobs`; only `dataset` and `architecture` are required.
            idempotency_key: the same key and spec give the same job, also from another process. One is made up
                unless given.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        answer = self._transport.json("POST", "/v1/jobs", json=dict(spec), headers=headers, repeatable=True)
        return Job(self._transport, answer)

    def check(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """What the server would make of a spec (resolved spec, `num_parameters`, `output_shape`); stores nothing."""
        params = {"dry_run": "true"}
        answer: dict[str, Any] = self._transport.json(
            "POST", "/v1/jobs", json=dict(spec), params=params, repeatable=True
        )
        return answer

    def get(self, job_id: str) -> Job:
        return Job(self._transport, self._transport.json("GET", f"/v1/jobs/{job_id}"))

    def list(
        self, *, state: str | None = None, name: str | None = None, kind: str | None = None, limit: int | None = None
    ) -> Iterator[Job]:
        """The jobs, newest first; `limit` of them, or all."""
        params = drop_unset({"state": state, "name": name, "kind": kind})
        for answer in pages(self._transport, "/v1/jobs", params=params, limit=limit):
            yield Job(self._transport, answer)


def drop_unset(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
