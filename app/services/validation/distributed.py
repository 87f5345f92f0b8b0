"""The rules of a job that several processes train together; what is wrong goes into a report of `fitting`."""

from typing import Protocol

from core.spec import JobSpec
from core.spec.callbacks import BatchSizeFinderSpec
from core.spec.optimizers import LbfgsSpec


class Findings(Protocol):
    def add(self, pointer: str, reason: str) -> None: ...


def check_shares(spec: JobSpec, batch_size: int, rest: int, report: Findings) -> None:
    """Several processes have an equal part of every batch; `rest` is the size of a last one that is not full."""
    count = spec.resources.devices
    if count == 1:
        return
    if batch_size % count or spec.batch_size % count:
        report.add(
            "/batch_size",
            f"is {spec.batch_size}; {count} processes share every batch evenly: take a multiple of {count}",
        )
    elif not spec.drop_last and (batch_size + 1 if rest == 1 else rest) % count:
        report.add(
            "/drop_last", f"a last batch of {rest} cannot be shared evenly by {count} processes; leave it out: true"
        )
    if spec.on_oom != "fail":
        report.add(
            "/on_oom", "one process cannot find out alone that all are to pass fewer samples at a time; use 'fail'"
        )
    for index, callback in enumerate(spec.callbacks):
        if isinstance(callback, BatchSizeFinderSpec):
            report.add(f"/callbacks/{index}", f"each of {count} processes would find another size; give batch_size")
    for index, callback in enumerate(spec.callbacks):
        if callback.name == "batch_size_finder":
            report.add(f"/callbacks/{index}", "every process would find a size of its own; give a batch_size")
    if isinstance(spec.optimizer, LbfgsSpec):
        report.add("/optimizer/name", "'lbfgs' compares losses, which several processes each have of their own part")
    if spec.device not in {"auto", "cpu", "cuda"}:
        report.add("/device", f"{spec.device!r} is one device, not {count}; use 'auto', 'cpu' or 'cuda'")
