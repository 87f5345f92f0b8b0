"""Manages the inference processes, one per device: assigns models to them and uses them to validate architectures."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import orjson

from app.inference.protocol import ArchitectureInvalid, ArchitectureValid, ValidateArchitecture
from app.serving.backend import (
    ArchitectureEntry,
    ArchitectureQuery,
    ArchitectureSummary,
    BatchListener,
    InvalidArchitecture,
    LoadOptions,
)
from app.serving.client import InferenceClient
from app.serving.leader_lock import LeaderLock
from app.serving.process import InferenceProcess
from app.serving.remote_model import RemoteModel
from app.serving.types import BundleRef
from core.errors import ServiceError, Unavailable

MAX_CACHED_CHECKS = 256


class InferenceProcessPool:
    """Implements `app.serving.backend.ModelBackend` with inference processes."""

    def __init__(
        self, devices: str = "auto", rendezvous_dir: Path | None = None, extra_variables: Collection[str] = ()
    ) -> None:
        """Take the devices, separated by commas. `auto` means all GPUs, or the CPU if there is no GPU.

        API processes with the same `rendezvous_dir` share the inference processes. `extra_variables` are names of
        environment variables that the processes inherit in addition to those in `core.child_environment`.
        """
        self._is_auto = devices == "auto"
        self._rendezvous_dir = rendezvous_dir
        self._extra_variables = extra_variables
        self._processes = [self._create_process(device.strip()) for device in devices.split(",")]
        self._num_bytes: dict[InferenceProcess, int] = {}
        self._architectures: dict[str, ArchitectureEntry] = {}
        self._checks: dict[ArchitectureQuery, asyncio.Future[ArchitectureSummary]] = {}

    @property
    def pids(self) -> list[int]:
        """The process ids of the running inference processes. Any thread may read this property."""
        return [process.pid for process in self._processes if process.pid is not None]

    async def start(self, on_ready: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Start the processes, see `ModelBackend.start`."""

        def handle_ready() -> None:
            self._start_remaining(on_ready, on_lost)
            on_ready()

        for process in self._processes:
            process.start(handle_ready, on_lost)

    async def close(self) -> None:
        """Stop the processes. Waiting requests fail."""
        await asyncio.gather(*(process.close() for process in self._processes))

    def check_ready(self) -> None:
        """Raise Unavailable if a process is not ready."""
        for process in self._processes:
            process.get_client()

    def list_devices(self) -> list[dict[str, Any]]:
        """Return the device, pid and runtime information of each process that has started."""
        return [
            {"device": server_info.device, "pid": process.pid, **server_info.runtime_info}
            for process in self._processes
            if (server_info := process.server_info) is not None
        ]

    def load_model(self, ref: BundleRef, folder: Path, options: LoadOptions, listener: BatchListener) -> RemoteModel:
        """Load a bundle in the process with the smallest total size of loaded models."""
        process = min(self._processes, key=lambda candidate: self._num_bytes.get(candidate, 0))
        future = asyncio.run_coroutine_threadsafe(process.load_model(ref, folder, options, listener), process.loop)
        model = future.result()
        self._num_bytes[process] = self._num_bytes.get(process, 0) + model.num_bytes
        return model

    def list_architectures(self) -> Mapping[str, ArchitectureEntry]:
        """Return the architectures, keyed by name. Raises Unavailable before the first process has started."""
        if not self._architectures:
            server_infos = [process.server_info for process in self._processes if process.server_info is not None]
            if not server_infos:
                raise Unavailable("The inference process is starting.", retry_after_s=2)
            self._architectures = {
                entry.name: ArchitectureEntry(
                    entry.name,
                    entry.summary,
                    entry.source,
                    orjson.loads(entry.options),
                    entry.pretrained,
                    entry.num_classes,
                    tuple(entry.image_shape),
                    entry.recipe,
                )
                for entry in server_infos[0].architectures
            }
        return self._architectures

    async def check_architecture(self, query: ArchitectureQuery) -> ArchitectureSummary:
        """Return the summary of a network. Results are cached, and equal queries at the same time share one check.

        Raises:
            InvalidArchitecture, Unavailable: see `ArchitectureCatalog.check_architecture`.
        """
        check = self._checks.get(query)
        if check is None or _has_failed(check):
            while len(self._checks) >= MAX_CACHED_CHECKS:
                self._checks.pop(next(iter(self._checks)))
            client = self._processes[0].get_client()
            check = self._checks[query] = asyncio.ensure_future(_request_summary(client, query))
            check.add_done_callback(_has_failed)  # retrieves the exception, also if every caller was cancelled
        return await asyncio.shield(check)

    def _create_process(self, device: str) -> InferenceProcess:
        leader_lock = LeaderLock(self._rendezvous_dir, device) if self._rendezvous_dir else None
        return InferenceProcess(device, leader_lock=leader_lock, extra_variables=self._extra_variables)

    def _start_remaining(self, on_ready: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """If the device is `auto`, start a process for each further GPU. The first process has counted the GPUs."""
        server_info = self._processes[0].server_info
        if self._is_auto and server_info is not None:
            for number in range(len(self._processes), server_info.runtime_info["num_gpus"]):
                self._processes.append(self._create_process(f"cuda:{number}"))
                self._processes[-1].start(on_ready, on_lost)


def _has_failed(check: "asyncio.Future[ArchitectureSummary]") -> bool:
    """Return whether a check ended without a result, for example because the inference process ended."""
    return check.done() and (check.cancelled() or isinstance(check.exception(), ServiceError))


async def _request_summary(client: InferenceClient, query: ArchitectureQuery) -> ArchitectureSummary:
    return parse_architecture_summary(await client.request(lambda id: ValidateArchitecture(id, *query)))


def parse_architecture_summary(response: ArchitectureValid | ArchitectureInvalid) -> ArchitectureSummary:
    """Convert a response to a summary. Raises InvalidArchitecture if the network cannot be built."""
    if isinstance(response, ArchitectureInvalid):
        errors = orjson.loads(response.errors or b"[]")
        raise InvalidArchitecture(errors, response.path, response.reason, num_errors=response.num_errors)
    return ArchitectureSummary(
        orjson.loads(response.options),
        response.num_parameters,
        tuple(response.output_shape),
        tuple(response.parameter_names),
        tuple(response.single_value_norms),
        response.cache_obstacle,
    )
