"""The SDK client of one server, with its jobs, sweeps, datasets, models and uploads."""

from collections.abc import AsyncGenerator, Iterable
from types import TracebackType
from typing import Any, Self

from candela.aio import events
from candela.aio.datasets import AsyncDatasets
from candela.aio.job_collection import AsyncJobs
from candela.aio.jobs import AsyncJob
from candela.aio.models import AsyncModels
from candela.aio.sweeps import AsyncSweeps
from candela.aio.transport import AsyncTransport
from candela.aio.uploads import AsyncUploads
from candela.errors import ProblemError, Unreachable
from candela.synonyms import SuggestsNames
from candela.types import JobEvent


class AsyncClient(SuggestsNames):
    """A client of one Candela server.

        from candela import AsyncClient
        async with AsyncClient() as client:
            spec = {"dataset": {"name": "digits"}, "architecture": {"name": "convnet"}}
            job = await client.jobs.submit(spec)
            await job.wait()
            print(job.raise_for_failure().latest_metrics)

    Args:
        base_url: URL of the server; default: `CANDELA_URL`, else http://127.0.0.1:8000.
        api_key: API key; default: `CANDELA_API_KEY`. It is not required on loopback addresses.
        timeout_s: maximum seconds for connecting and for each read.
        max_attempts: maximum number of attempts per request; requests that are not repeatable are sent only once.
    """

    def __init__(
        self, base_url: str | None = None, api_key: str | None = None, *, timeout_s: float = 30.0, max_attempts: int = 5
    ) -> None:
        self._transport = AsyncTransport(base_url, api_key, timeout_s=timeout_s, max_attempts=max_attempts)
        self.jobs = AsyncJobs(self._transport)
        self.sweeps = AsyncSweeps(self._transport)
        self.datasets = AsyncDatasets(self._transport)
        self.models = AsyncModels(self._transport)
        self.uploads = AsyncUploads(self._transport)

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    async def catalog(self) -> dict[str, Any]:
        """Return all components of job specs, such as optimizers, with the JSON Schemas of their options."""
        response: dict[str, Any] = await self._transport.request_json("GET", "/v1/catalog")
        return response

    async def session(self) -> dict[str, Any]:
        """Return how the server authenticates the requests, and the start of the SHA-256 of the API key."""
        response: dict[str, Any] = await self._transport.request_json("GET", "/v1/session")
        return response

    async def system(self) -> dict[str, Any]:
        """Return the versions, devices, queue depth and workers of the server."""
        response: dict[str, Any] = await self._transport.request_json("GET", "/v1/system")
        return response

    def events(
        self, jobs: Iterable[AsyncJob | str] | None = None, *, after: str | None = None
    ) -> AsyncGenerator[JobEvent, None]:
        """Yield the events of several jobs over one connection until all of them end. Each event has its `job`.

        Args:
            jobs: at most 200 jobs or ids. Default: all jobs, also later ones; then only their state changes and
                progress are yielded, from now on and without an end.
            after: the `id` of an event of an earlier call with the same jobs, to continue after it.
        """
        ids = None if jobs is None else [job if isinstance(job, str) else job.id for job in jobs]
        return events.watch_many_events(self._transport, ids, after=after)

    async def is_ready(self) -> bool:
        """Return whether the server is reachable and ready."""
        try:
            await self._transport.request("GET", "/health/ready", repeatable=False)
        except (ProblemError, Unreachable):
            return False
        return True

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
