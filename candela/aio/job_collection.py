"""Submits, finds and compares jobs."""

import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from candela import frames
from candela.aio.jobs import AsyncJob
from candela.aio.pagination import iterate_items
from candela.aio.transport import AsyncTransport
from candela.synonyms import SuggestsNames
from candela.types import CurveGrid, JobDifferences

if TYPE_CHECKING:
    from pandas import DataFrame


class AsyncJobs(SuggestsNames):
    """The jobs of a server, available as `client.jobs`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def submit(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> AsyncJob:
        """Submit a job. The request is repeated after connection errors, but only one job is created.

        Args:
            spec: job spec, the body of `POST /v1/jobs`; only `dataset` and `architecture` are required.
            idempotency_key: requests with the same key and spec return the same job. Default: a random key.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        response = await self._transport.request_json(
            "POST", "/v1/jobs", json=dict(spec), headers=headers, repeatable=True
        )
        return AsyncJob(self._transport, response)

    async def dry_run(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Validate a spec without submitting it. Return the resolved spec, `num_parameters` and `output_shape`."""
        response: dict[str, Any] = await self._transport.request_json(
            "POST", "/v1/jobs", json=dict(spec), params={"dry_run": "true"}, repeatable=True
        )
        return response

    async def get(self, job_id: str) -> AsyncJob:
        return AsyncJob(self._transport, await self._transport.request_json("GET", f"/v1/jobs/{job_id}"))

    async def compare(self, job_ids: Sequence[str]) -> JobDifferences:
        """Compare 2 to 50 jobs: the differences of their specs, their last and best metrics and their environments."""
        comparison: JobDifferences = await self._transport.request_json(
            "GET", "/v1/jobs/compare", params={"job": list(job_ids)}
        )
        return comparison

    async def curves(
        self,
        job_ids: Sequence[str],
        name: str | None = None,
        split: str | None = None,
        *,
        curves: Sequence[str] = (),
        x: str = "step",
        buckets: int = 500,
        start: float | None = None,
        end: float | None = None,
    ) -> CurveGrid:
        """Return one or several metrics of up to 200 jobs on one grid.

        Args:
            job_ids: ids of the jobs.
            name: name of the metric, such as `loss`.
            split: `train`, `valid`, `test` or `usage`.
            curves: several splits and metrics, such as `["train/loss", "valid/loss"]`, instead of `name` and `split`.
            x: the axis: `step`, `epoch` or `time`, which is in seconds.
            buckets: maximum number of buckets, into which the axis is divided.
            start: lowest position on the axis.
            end: highest position on the axis.
        """
        params = {"job": list(job_ids), "name": name, "split": split, "curve": [*curves] or None, "x": x}
        grid: CurveGrid = await self._transport.request_json(
            "GET", "/v1/metrics", params={**params, "buckets": buckets, "from": start, "to": end}
        )
        return grid

    async def curves_frame(
        self,
        job_ids: Sequence[str],
        name: str | None = None,
        split: str | None = None,
        *,
        curves: Sequence[str] = (),
        x: str = "step",
        buckets: int = 500,
        start: float | None = None,
        end: float | None = None,
    ) -> "DataFrame":
        """Return metrics of several jobs as a pandas DataFrame. The arguments are those of `curves`.

        The index is the axis. Each column is a job; with `curves`, a job and a curve, such as `("ID", "valid/loss")`.
        Each value is the last one of its bucket.

        Raises:
            CandelaError: pandas is not installed.
        """
        frames.require_pandas("curves_frame")
        grid = await self.curves(job_ids, name, split, curves=curves, x=x, buckets=buckets, start=start, end=end)
        return frames.build_curves_frame(grid, has_many_curves=bool(curves))

    async def list(
        self,
        *,
        id: str | None = None,
        state: str | None = None,
        name: str | None = None,
        kind: str | None = None,
        q: str | None = None,
        tags: Sequence[str] = (),
        dataset: str | None = None,
        model: str | None = None,
        sweep: str | None = None,
        sort: str | None = None,
        fields: Sequence[str] = (),
        limit: int | None = None,
    ) -> AsyncGenerator[AsyncJob, None]:
        """Yield at most `limit` jobs, newest first; default: all.

        Args:
            id: only jobs whose id starts with these hexadecimal digits.
            state: only jobs in this state.
            name: only jobs with this name.
            kind: only jobs of this kind.
            q: only jobs whose name or note has this text, or whose id starts with it.
            tags: only jobs with all these tags.
            dataset: only jobs with this dataset, for example `digits` or `digits@2`.
            model: only jobs whose model has this name.
            sweep: only the jobs of the trials of the sweep with this id.
            sort: the order, for example `-metrics.valid_accuracy.best` or `duration`.
            fields: the fields of `response` to request, besides `id`; the others are absent. Default: all but `spec`.
            limit: maximum number of jobs.
        """
        params: dict[str, Any] = {
            "id": id,
            "state": state,
            "name": name,
            "kind": kind,
            "q": q,
            "dataset": dataset,
            "model": model,
            "sweep": sweep,
        }
        params |= {"sort": sort, "tag": [*tags] or None, "fields": ",".join(fields) or None}
        async for item in iterate_items(self._transport, "/v1/jobs", params=params, limit=limit):
            yield AsyncJob(self._transport, item)
