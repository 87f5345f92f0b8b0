"""The SDK: one server, its jobs, datasets and models."""

from types import TracebackType
from typing import Any, Self

from candela.datasets import Datasets
from candela.errors import ProblemError, Unreachable
from candela.jobs import Jobs
from candela.models import Models
from candela.transport import Transport


class Client:
    """A client of one Candela server.

        from candela import Client
        job = Client().jobs.submit({"dataset": {"name": "digits"}, "architecture": {"name": "convnet"}})
        print(job.wait().check().latest_metrics)

    Args:
        base_url: `CANDELA_URL` unless given, else http://127.0.0.1:8000.
        api_key: `CANDELA_API_KEY` unless given; none is needed on loopback.
        timeout_s: of connecting, and of each wait for bytes.
        max_attempts: how often a request that may be repeated is tried.
    """

    def __init__(
        self, base_url: str | None = None, api_key: str | None = None, *, timeout_s: float = 30.0, max_attempts: int = 5
    ) -> None:
        self._transport = Transport(base_url, api_key, timeout_s=timeout_s, max_attempts=max_attempts)
        self.jobs = Jobs(self._transport)
        self.datasets = Datasets(self._transport)
        self.models = Models(self._transport)

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    def catalog(self) -> dict[str, Any]:
        """Architectures, optimizers, losses, datasets, …: each with its summary and the JSON Schema of its options."""
        answer: dict[str, Any] = self._transport.json("GET", "/v1/catalog")
        return answer

    def system(self) -> dict[str, Any]:
        """Versions, devices, queue depth, workers."""
        answer: dict[str, Any] = self._transport.json("GET", "/v1/system")
        return answer

    def is_ready(self) -> bool:
        """Whether the server says that it is ready."""
        try:
            self._transport.request("GET", "/health/ready", repeatable=False)
        except (ProblemError, Unreachable):
            return False
        return True

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
