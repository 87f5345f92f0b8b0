# Generated from candela/aio/client.py by `make sdk`. Edit that file.
"""The SDK client of one server, with its jobs, sweeps, datasets, models and uploads."""

from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Any, Self

from candela import events
from candela.datasets import Datasets
from candela.errors import ProblemError, Unreachable
from candela.job_collection import Jobs
from candela.jobs import Job
from candela.models import Models
from candela.sweeps import Sweeps
from candela.synonyms import SuggestsNames
from candela.transport import Transport
from candela.types import JobEvent
from candela.uploads import Uploads


class Client(SuggestsNames):
    """A client of one Candela server.

        from candela import Client
        with Client() as client:
            spec = {"dataset": {"name": "digits"}, "architecture": {"name": "convnet"}}
            job = client.jobs.submit(spec)
            job.wait()
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
        self._transport = Transport(base_url, api_key, timeout_s=timeout_s, max_attempts=max_attempts)
        self.jobs = Jobs(self._transport)
        self.sweeps = Sweeps(self._transport)
        self.datasets = Datasets(self._transport)
        self.models = Models(self._transport)
        self.uploads = Uploads(self._transport)

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    def catalog(self) -> dict[str, Any]:
        """Return all components of job specs, such as optimizers, with the JSON Schemas of their options."""
        response: dict[str, Any] = self._transport.request_json("GET", "/v1/catalog")
        return response

    def session(self) -> dict[str, Any]:
        """Return how the server authenticates the requests, and the start of the SHA-256 of the API key."""
        response: dict[str, Any] = self._transport.request_json("GET", "/v1/session")
        return response

    def system(self) -> dict[str, Any]:
        """Return the versions, devices, queue depth and workers of the server."""
        response: dict[str, Any] = self._transport.request_json("GET", "/v1/system")
        return response

    def events(self, jobs: Iterable[Job | str] | None = None, *, after: str | None = None) -> Generator[JobEvent, None]:
        """Yield the events of several jobs over one connection until all of them end. Each event has its `job`.

        Args:
            jobs: at most 200 jobs or ids. Default: all jobs, also later ones; then only their state changes and
                progress are yielded, from now on and without an end.
            after: the `id` of an event of an earlier call with the same jobs, to continue after it.
        """
        ids = None if jobs is None else [job if isinstance(job, str) else job.id for job in jobs]
        return events.watch_many_events(self._transport, ids, after=after)

    def is_ready(self) -> bool:
        """Return whether the server is reachable and ready."""
        try:
            self._transport.request("GET", "/health/ready", repeatable=False)
        except (ProblemError, Unreachable):
            return False
        return True

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
