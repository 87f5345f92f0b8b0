"""The system state: workers, devices and the queue."""

from typing import Any

from fastapi.testclient import TestClient

from app.state import State
from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.system_reports import SystemReportRepo
from core.db.repos.workers import WorkerRepo
from core.db.session import transaction
from tests.support.builders import dataset_version, job
from tests.support.http_service import SMALL
from worker.maintenance.disk_usage import KINDS
from worker.maintenance.file_cleanup import FileCleanup


def test_running_workers_are_listed_and_their_devices_can_be_requested(client: TestClient, state: State) -> None:
    gpu_job = SMALL | {"device": "cuda", "precision": "fp16"}
    assert client.post("/v1/jobs", json=gpu_job).status_code == 422
    devices: list[Any] = [{"name": "cpu"}, {"name": "cuda:0", "kind": "NVIDIA H200"}]
    with transaction(state.sessions) as session:
        WorkerRepo(session).register("w1", "host", 2, devices, {"torch": "2.14.1"})
    client.post("/v1/jobs", json=SMALL)
    system = client.get("/v1/system").json()
    assert system["devices"] == ["cpu", "cuda:0"]
    assert [worker["id"] for worker in system["workers"]] == ["w1"]
    assert system["queue_depth"] == system["jobs"]["queued"] == 1
    assert {"candela", "python", "torch"} <= set(system["versions"])
    assert client.post("/v1/jobs", json=gpu_job).status_code == 202
    assert client.post("/v1/jobs", json=SMALL | {"device": "cuda:1"}).status_code == 422


def test_a_job_has_the_reason_why_no_worker_claims_it(client: TestClient, state: State) -> None:
    on_two = SMALL | {"resources": {"devices": 2}}
    assert client.post("/v1/jobs", json=on_two).json()["queue_reason"] == "No worker is alive."
    with transaction(state.sessions) as session:
        WorkerRepo(session).register("w1", "host", 1, [{"name": "cpu"}], {})
    rejected = client.post("/v1/jobs", json=on_two)
    assert (rejected.status_code, rejected.json()["errors"][0]["pointer"]) == (422, "/resources/devices")
    assert "no worker has 2 slots; the largest has 1 slots" in rejected.json()["errors"][0]["detail"]
    with transaction(state.sessions) as session:
        WorkerRepo(session).register("w2", "host", 2, [{"name": "cpu"}, {"name": "cuda:0"}], {})
    assert client.post("/v1/jobs", json=on_two).json()["queue_reason"] is None
    on_gpu = client.post("/v1/jobs", json=SMALL | {"device": "cuda"}).json()
    assert on_gpu["queue_reason"] is None
    with transaction(state.sessions) as session:
        WorkerRepo(session).unregister("w2")
    assert client.get(f"/v1/jobs/{on_gpu['id']}").json()["queue_reason"] == "No live worker has the device 'cuda'."


def test_a_worker_that_receives_no_messages_is_marked(client: TestClient, state: State) -> None:
    cpu: list[Any] = [{"name": "cpu"}]
    with transaction(state.sessions) as session:
        workers = WorkerRepo(session)
        for name, took_s_ago in (("new", None), ("busy", 1.0), ("deaf", 3600.0)):
            workers.register(name, "host", 1, cpu, {})
            workers.record_heartbeat(name, took_s_ago)
        session.add(version := dataset_version())
        session.flush()
        busy_job = JobRepo(session).add(job(version))
        AttemptRepo(session).claim(busy_job.id, "busy", 30.0)
    workers_out = {worker["id"]: worker for worker in client.get("/v1/system").json()["workers"]}
    assert {name: worker["is_consuming"] for name, worker in workers_out.items()} == {
        "new": True,
        "busy": True,
        "deaf": False,
    }
    assert {name: worker["jobs"] for name, worker in workers_out.items()} == {
        "new": [],
        "busy": [busy_job.id],
        "deaf": [],
    }
    assert workers_out["new"]["took_at"] is None


def test_disk_usage_and_expired_data_are_those_of_the_last_round_of_maintenance(
    client: TestClient, state: State
) -> None:
    system = client.get("/v1/system").json()
    assert (system["disk"], system["retention"]) == (None, None)
    settings = state.settings.model_copy(update={"job_retention_days": 30.0})
    FileCleanup(settings, state.sessions, state.storage).run_once()
    system = client.get("/v1/system").json()
    assert system["disk"]["kinds"]["database"] > 0
    assert set(system["disk"]["kinds"]) == set(KINDS)
    assert system["disk"]["free_bytes"] > 0
    assert system["retention"]["jobs"] == {"days": 30.0, "num_expired": 0, "expired_bytes": 0}
    assert system["retention"]["checkpoints"]["days"] is None
    with transaction(state.sessions) as session:
        SystemReportRepo(session).put("disk", {"kinds": dict.fromkeys(KINDS, 7), "free_bytes": 1})
    assert client.get("/v1/system").json()["disk"]["kinds"]["models"] == 7
