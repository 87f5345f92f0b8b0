"""Submits, follows and controls jobs, and reads their results."""

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from candela import events
from candela.errors import JobFailed
from candela.metric_curves import compare_jobs, read_metric_grid
from candela.pagination import iterate_items
from candela.transport import Transport
from candela.types import (
    FINISHED,
    Artifact,
    BestEpochMetrics,
    Checkpoint,
    CurveGrid,
    JobDifferences,
    JobEvent,
    JobResponse,
    ModelVersionRef,
    Number,
    Series,
    State,
    UsageSeries,
)


class Job:
    """A job as returned by the last request. Call `refresh()` to update it.

    `response` is the job as JSON, as returned by the last request.
    """

    def __init__(self, transport: Transport, response: JobResponse) -> None:
        self._transport = transport
        self.response = response

    @property
    def id(self) -> str:
        return self.response["id"]

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

    def refresh(self) -> Self:
        """Request the current state of the job and update this object."""
        self.response = self._transport.json("GET", f"/v1/jobs/{self.id}")
        return self

    def wait(self, timeout_s: float | None = None) -> Self:
        """Wait until the job has ended. Call `check()` afterwards to raise an exception if it did not succeed.

        Raises:
            TimeoutError: the job has not ended after `timeout_s` seconds.
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
            JobFailed: the job failed, was cancelled, or has not ended.
        """
        if self.state != "succeeded":
            raise JobFailed(self.id, self.state, self.response["failure"])
        return self

    def watch(self, after: str | None = None) -> Iterator[JobEvent]:
        """Yield the events of the job until it ends. With `after`, yield only the events after this event id.

        Each complete epoch has one event of the type `epoch` (see `JobEvent`).
        """
        for event in events.watch_events(self._transport, self.id, after=after):
            yield event
            if event["type"] == "end":
                self.refresh()

    def cancel(self, *, force: bool = False) -> Self:
        """Cancel the job. With `force`, cancel it at once, without writing a last checkpoint."""
        return self._post_action("cancel?force=true" if force else "cancel", repeatable=True)

    def set_priority(self, priority: int) -> Self:
        """Set the priority. Jobs with a higher priority run first; the default is 0."""
        return self._change({"priority": priority})

    def set_tags(self, tags: Sequence[str]) -> Self:
        """Set all tags of the job, in any state. An empty list deletes them."""
        return self._change({"tags": list(tags)})

    def set_note(self, note: str | None) -> Self:
        """Set the note of the job, which is Markdown, in any state. None deletes it."""
        return self._change({"note": note})

    def artifacts(self) -> list[Artifact]:
        """Return the artifacts of the job."""
        return list(self._transport.json("GET", f"/v1/jobs/{self.id}/artifacts")["items"])

    def download(self, name: str, path: str | os.PathLike[str]) -> Path:
        """Download an artifact to a file or folder, and return the path of the file.

        If `path` is a folder, the file is named after the artifact.
        """
        target = Path(path) / name if Path(path).is_dir() else Path(path)
        part = target.with_name(target.name + ".part")
        try:
            with (
                self._transport.stream("GET", f"/v1/jobs/{self.id}/artifacts/{name}") as response,
                part.open("wb") as file,
            ):
                file.writelines(response.iter_bytes())
            part.replace(target)  # a rename, so that other processes never read an incomplete file
        finally:
            part.unlink(missing_ok=True)
        return target

    def read_artifact(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the content of a JSON artifact, such as `confusion_matrix.json`."""
        return self._transport.json("GET", f"/v1/jobs/{self.id}/artifacts/{name}")

    def pause(self) -> Self:
        return self._post_action("pause")

    def resume(self) -> Self:
        return self._post_action("resume")

    def finish(self) -> Self:
        """Finish the job after the current epoch, evaluate the model and register it."""
        return self._post_action("finish")

    def extend(self, epochs: int, *, schedule: Mapping[str, Any] | None = None) -> Self:
        """Train a succeeded job for more epochs.

        Args:
            epochs: number of additional epochs.
            schedule: a new schedule for these epochs, for example `{"name": "cosine"}`. Default: the schedule of the
                job continues; after its planned end, the learning rate is constant.
        """
        body = {"epochs": epochs} | ({} if schedule is None else {"schedule": dict(schedule)})
        self.response = self._transport.json("POST", f"/v1/jobs/{self.id}/extend", json=body)
        return self

    def delete(self) -> None:
        self._transport.request("DELETE", f"/v1/jobs/{self.id}")

    def metrics(
        self, *, name: str | None = None, split: str | None = None, max_points: int | None = None
    ) -> list[Series]:
        """Return the metrics of the job, each with at most `max_points` points."""
        params = {"name": name, "split": split, "max_points": max_points}
        response = self._transport.json("GET", f"/v1/jobs/{self.id}/metrics", params=drop_unset(params))
        return list(response["series"])

    def logs(self) -> str:
        """Return the log of the trainer."""
        return self._transport.request("GET", f"/v1/jobs/{self.id}/logs").text

    def checkpoints(self) -> list[Checkpoint]:
        return list(self._transport.json("GET", f"/v1/jobs/{self.id}/checkpoints")["items"])

    def usage(self, *, max_points: int = 1000) -> list[UsageSeries]:
        """Return processor time, memory, waiting time and throughput of the training as series of samples."""
        response = self._transport.json("GET", f"/v1/jobs/{self.id}/usage", params={"max_points": max_points})
        return list(response["series"])

    def _change(self, changes: Mapping[str, Any]) -> Self:
        self.response = self._transport.json("PATCH", f"/v1/jobs/{self.id}", json=dict(changes), repeatable=True)
        return self

    def _post_action(self, action: str, *, repeatable: bool = False) -> Self:
        self.response = self._transport.json("POST", f"/v1/jobs/{self.id}/{action}", repeatable=repeatable)
        return self


class Jobs:
    """The jobs of a server, available as `client.jobs`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Submit a job. The request is repeated after connection errors, but only one job is created.

        Args:
            spec: job spec, the body of `POST /v1/jobs`; only `dataset` and `architecture` are required.
            idempotency_key: requests with the same key and spec return the same job. Default: a random key.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        response = self._transport.json("POST", "/v1/jobs", json=dict(spec), headers=headers, repeatable=True)
        return Job(self._transport, response)

    def check(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Validate a spec without submitting it. Return the resolved spec, `num_parameters` and `output_shape`."""
        params = {"dry_run": "true"}
        response: dict[str, Any] = self._transport.json(
            "POST", "/v1/jobs", json=dict(spec), params=params, repeatable=True
        )
        return response

    def get(self, job_id: str) -> Job:
        return Job(self._transport, self._transport.json("GET", f"/v1/jobs/{job_id}"))

    def compare(self, job_ids: Sequence[str]) -> JobDifferences:
        """Compare 2 to 50 jobs: the differences of their specs, their last and best metrics and their environments."""
        return compare_jobs(self._transport, job_ids)

    def curves(self, job_ids: Sequence[str], name: str, split: str, **options: Any) -> CurveGrid:  # noqa: ANN401
        """Return one metric of up to 200 jobs on one grid. The options are those of `read_metric_grid`."""
        return read_metric_grid(self._transport, job_ids, name, split, **options)

    def list(
        self,
        *,
        state: str | None = None,
        name: str | None = None,
        kind: str | None = None,
        q: str | None = None,
        tags: Sequence[str] = (),
        dataset: str | None = None,
        model: str | None = None,
        sort: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Yield at most `limit` jobs, newest first; default: all.

        Args:
            state: only jobs in this state.
            name: only jobs with this name.
            kind: only jobs of this kind.
            q: only jobs whose name or note has this text, or whose id starts with it.
            tags: only jobs with all these tags.
            dataset: only jobs with this dataset, for example `digits` or `digits@2`.
            model: only jobs whose model has this name.
            sort: the order, for example `-metrics.valid_accuracy.best` or `duration`.
            limit: maximum number of jobs.
        """
        params = drop_unset({"state": state, "name": name, "kind": kind, "q": q, "dataset": dataset, "model": model})
        params |= drop_unset({"sort": sort, "tag": [*tags] or None})
        for item in iterate_items(self._transport, "/v1/jobs", params=params, limit=limit):
            yield Job(self._transport, item)


def drop_unset(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
