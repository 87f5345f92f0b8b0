"""The processes that run networks, one a device: where each network goes, and what is asked of any of them."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from app.inference import protocol
from app.inference.protocol import ArchitectureValid, ValidateArchitecture
from app.serving.backend import (
    Architecture,
    ArchitectureQuery,
    ArchitectureSummary,
    BatchListener,
    InvalidArchitecture,
    LoadOptions,
)
from app.serving.client import InferenceClient, process_unavailable
from app.serving.leader_lock import LeaderLock
from app.serving.process import InferenceProcess
from app.serving.remote_model import RemoteModel
from app.serving.types import BundleRef
from core.errors import Unavailable

MAX_CHECKED = 256
CHECK_S = 30.0  # a caller may hold a lock of the database meanwhile


class InferenceProcessPool:
    """Implements `app.serving.backend.Networks`."""

    def __init__(self, devices: str = "auto", meeting: Path | None = None) -> None:
        """`devices` are separated by commas; `auto` stands for every GPU, or the CPU where there is none.

        Those who name the same folder for a `meeting` share the processes.
        """
        self._is_auto = devices == "auto"
        self._meeting = meeting
        self._processes = [self._process(device.strip()) for device in devices.split(",")]
        self._num_bytes: dict[InferenceProcess, int] = {}
        self._known: dict[str, Architecture] = {}
        self._checked: dict[ArchitectureQuery, ArchitectureSummary] = {}  # large ones take long

    @property
    def pids(self) -> list[int]:
        """Of those that run; callable by any thread."""
        return [process.pid for process in self._processes if process.pid is not None]

    async def start(self, back: Callable[[], None], lost: Callable[[], None]) -> None:
        def first_back() -> None:
            self._find_others(back, lost)
            back()

        for process in self._processes:
            process.start(first_back, lost)

    async def close(self) -> None:
        await asyncio.gather(*(process.close() for process in self._processes))

    def check_ready(self) -> None:
        for process in self._processes:
            process.ready_link()

    def facts(self) -> list[dict[str, Any]]:
        return [
            {"device": welcome.device, "pid": process.pid, **welcome.facts}
            for process in self._processes
            if (welcome := process.welcome) is not None
        ]

    def open(self, ref: BundleRef, folder: Path, allowed: LoadOptions, heard: BatchListener) -> RemoteModel:
        process = min(self._processes, key=lambda one: self._num_bytes.get(one, 0))
        loading = asyncio.run_coroutine_threadsafe(process.load(ref, folder, allowed, heard), process.loop)
        network = loading.result()
        self._num_bytes[process] = self._num_bytes.get(process, 0) + network.num_bytes
        return network

    def list_architectures(self) -> Mapping[str, Architecture]:
        if not self._known:
            welcomes = [process.welcome for process in self._processes if process.welcome is not None]
            if not welcomes:
                raise Unavailable("The process that knows the architectures starts.", retry_after_s=2)
            self._known = {
                one.name: Architecture(one.name, one.summary, one.source, orjson.loads(one.options), one.pretrained)
                for one in welcomes[0].architectures
            }
        return self._known

    def check_architecture(self, query: ArchitectureQuery) -> ArchitectureSummary:
        if query not in self._checked:
            if len(self._checked) >= MAX_CHECKED:
                self._checked.clear()
            self._checked[query] = self._check(query)
        return self._checked[query]

    def _check(self, query: ArchitectureQuery) -> ArchitectureSummary:
        process = self._processes[0]
        link = process.ready_link()
        asking = asyncio.run_coroutine_threadsafe(_check(link, query), process.loop)
        try:
            return asking.result(CHECK_S)
        except TimeoutError:
            asking.cancel()
            raise process_unavailable() from None

    def _process(self, device: str) -> InferenceProcess:
        return InferenceProcess(device, meeting=LeaderLock(self._meeting, device) if self._meeting else None)

    def _find_others(self, back: Callable[[], None], lost: Callable[[], None]) -> None:
        """The first process tells how many GPUs there are."""
        welcome = self._processes[0].welcome
        if self._is_auto and welcome is not None:
            for number in range(len(self._processes), welcome.facts["num_gpus"]):
                self._processes.append(self._process(f"cuda:{number}"))
                self._processes[-1].start(back, lost)


async def _check(link: InferenceClient, asked: ArchitectureQuery) -> ArchitectureSummary:
    return summary_of(await link.request(lambda id: ValidateArchitecture(id, *asked)))


def summary_of(answer: ArchitectureValid | protocol.ArchitectureInvalid) -> ArchitectureSummary:
    """Raises Unbuildable."""
    if isinstance(answer, protocol.ArchitectureInvalid):
        raise InvalidArchitecture(orjson.loads(answer.errors or b"[]"), answer.path, answer.reason)
    return ArchitectureSummary(
        orjson.loads(answer.options), answer.num_parameters, tuple(answer.output_shape), tuple(answer.parameter_names)
    )
