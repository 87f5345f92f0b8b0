"""The processes that run networks, one a device: where each network goes, and what is asked of any of them."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from app.inference import protocol
from app.inference.protocol import Check, Checked
from app.serving.backend import Architecture, Heard, Loading, Summary, Unbuildable
from app.serving.client import Link, gone
from app.serving.leader_lock import Meeting
from app.serving.process import InferenceProcess
from app.serving.remote_model import RemoteNetwork
from app.serving.types import BundleRef
from core.errors import Unavailable

MAX_CHECKED = 256
CHECK_S = 30.0  # a caller may hold a lock of the database meanwhile


class Asked(NamedTuple):
    """A question about an architecture, of which there is one answer for ever. `options` are JSON."""

    name: str
    options: bytes
    shape: tuple[int, ...]
    num_outputs: int
    cardinalities: tuple[int, ...]


class Processes:
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
        self._checked: dict[Asked, Summary] = {}  # large ones take long

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

    def open(self, ref: BundleRef, folder: Path, allowed: Loading, heard: Heard) -> RemoteNetwork:
        process = min(self._processes, key=lambda one: self._num_bytes.get(one, 0))
        loading = asyncio.run_coroutine_threadsafe(process.load(ref, folder, allowed, heard), process.loop)
        network = loading.result()
        self._num_bytes[process] = self._num_bytes.get(process, 0) + network.num_bytes
        return network

    def known(self) -> Mapping[str, Architecture]:
        if not self._known:
            welcomes = [process.welcome for process in self._processes if process.welcome is not None]
            if not welcomes:
                raise Unavailable("The process that knows the architectures starts.", retry_after_s=2)
            self._known = {
                one.name: Architecture(one.name, one.summary, one.source, orjson.loads(one.options), one.pretrained)
                for one in welcomes[0].architectures
            }
        return self._known

    def check(
        self,
        name: str,
        options: Mapping[str, Any],
        shape: tuple[int, ...],
        num_outputs: int,
        cardinalities: tuple[int, ...] = (),
    ) -> Summary:
        asked = Asked(name, orjson.dumps(options), shape, num_outputs, cardinalities)
        if asked not in self._checked:
            if len(self._checked) >= MAX_CHECKED:
                self._checked.clear()
            self._checked[asked] = self._check(asked)
        return self._checked[asked]

    def _check(self, asked: Asked) -> Summary:
        process = self._processes[0]
        link = process.ready_link()
        asking = asyncio.run_coroutine_threadsafe(_check(link, asked), process.loop)
        try:
            return asking.result(CHECK_S)
        except TimeoutError:
            asking.cancel()
            raise gone() from None

    def _process(self, device: str) -> InferenceProcess:
        return InferenceProcess(device, meeting=Meeting(self._meeting, device) if self._meeting else None)

    def _find_others(self, back: Callable[[], None], lost: Callable[[], None]) -> None:
        """The first process tells how many GPUs there are."""
        welcome = self._processes[0].welcome
        if self._is_auto and welcome is not None:
            for number in range(len(self._processes), welcome.facts["num_gpus"]):
                self._processes.append(self._process(f"cuda:{number}"))
                self._processes[-1].start(back, lost)


async def _check(link: Link, asked: Asked) -> Summary:
    return summary_of(await link.ask(lambda id: Check(id, *asked)))


def summary_of(answer: Checked | protocol.Unbuildable) -> Summary:
    """Raises Unbuildable."""
    if isinstance(answer, protocol.Unbuildable):
        raise Unbuildable(orjson.loads(answer.errors or b"[]"), answer.path, answer.reason)
    return Summary(
        orjson.loads(answer.options), answer.num_parameters, tuple(answer.output_shape), tuple(answer.parameter_names)
    )
