"""What live workers can run, and why a queued job waits."""

from app.services.validation.capacity import NO_WORKER, check_capacity, get_pending_reason
from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from core.db.repos.placement import WorkerCapacity
from core.spec import JobSpec
from tests.support.validation import CONVNET, validation_context


def find_capacity_errors(num_devices: int, *capacities: WorkerCapacity) -> list[tuple[str, str]]:
    body = {"dataset": {"name": "digits"}, "architecture": CONVNET, "resources": {"devices": num_devices}}
    report = ValidationReport()
    spec = JobSpec.model_validate(body)
    check_capacity(TrainingContext.prepare(validation_context(spec, capacities=capacities)), report)
    return report.errors


def test_job_requires_a_worker_with_enough_slots() -> None:
    small = WorkerCapacity.from_devices(["cpu"], 1)
    ((pointer, reason),) = find_capacity_errors(2, small)
    assert pointer == "/resources/devices"
    assert reason.startswith("is 2, but no worker has ")
    assert "the largest has 1 slots (CANDELA_SLOTS) and 0 CUDA devices" in reason
    assert find_capacity_errors(2, small, WorkerCapacity.from_devices(["cpu"], 2)) == []


def test_job_waits_where_no_worker_is_alive() -> None:
    assert find_capacity_errors(2) == []
    assert get_pending_reason({"device": "cpu"}, []) == NO_WORKER


def test_pending_reason_names_the_missing_device() -> None:
    cpu = WorkerCapacity.from_devices(["cpu"], 1)
    assert get_pending_reason({"device": "cpu"}, [cpu]) is None
    assert "cuda" in str(get_pending_reason({"device": "cuda"}, [cpu]))
