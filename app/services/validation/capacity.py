"""What living workers have for a job: whether one of them could take it, and why it waits where none can."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.db.repos.placement import WorkerCapacity
from core.db.tables import WorkerRow
from core.errors import InvalidSpec
from core.spec import AnyJobSpec, JobSpec

NOBODY = "No worker is alive."


def worker_capacities(workers: Sequence[WorkerRow]) -> list[WorkerCapacity]:
    """What each of the workers has."""
    return [WorkerCapacity.of([str(device["name"]) for device in worker.devices], worker.slots) for worker in workers]


def check_room(spec: AnyJobSpec, offered: Sequence[WorkerCapacity]) -> None:
    """Refuse what none of the living workers can hold; where none lives, the job waits for one.

    Raises:
        InvalidSpec: it asks for more devices than any of them has.
    """
    count = spec.resources.devices if isinstance(spec, JobSpec) else 1
    if count == 1 or not offered:
        return
    at, lacking = "/resources/devices", _lacking(spec.model_dump(include={"device", "resources"}), offered)
    if lacking:
        most = max(offer.slots for offer in offered)
        reason = (
            f"is {count}, but no worker has {' or '.join(lacking)}; the largest has {most} slots (CANDELA_SLOTS) and "
            f"{max(offer.num_cuda for offer in offered)} CUDA devices"
        )
        raise InvalidSpec(f"{at}: {reason}", errors=[(at, reason)])


def pending_reason(spec: Mapping[str, Any], offered: Sequence[WorkerCapacity]) -> str | None:
    """Why a queued job is taken by nobody, however long it waits; None where it only waits for its turn."""
    if not offered:
        return NOBODY
    lacking = _lacking(spec, offered)
    return f"No living worker has {' or '.join(lacking)}." if lacking else None


def _lacking(spec: Mapping[str, Any], offered: Sequence[WorkerCapacity]) -> list[str]:
    """What is missed, by each of the workers; nothing where one of them could take the job."""
    found = [offer.lacks(spec) for offer in offered]
    return sorted({lack for lack in found if lack is not None}) if None not in found else []
