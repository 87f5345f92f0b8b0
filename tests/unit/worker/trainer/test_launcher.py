"""Distributed runs: two processes each, from the command line and under a supervisor."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.jobs import JobState, StopRequest
from core.spec import JobSpec
from core.storage import LocalStorage
from models.bundle import compute_sha256
from tests.support.builders import dataset_version
from tests.support.builders import job as job_row
from tests.support.processes import is_alive, wait_for
from tests.support.trainer import build_start, run_command, run_job
from tests.support.training import RecordingChannel, add_weights, build_spec, pack
from worker.control.attempt import WorkerContext
from worker.control.devices import DeviceAllocator
from worker.control.lease import SupervisionTimeouts
from worker.control.standby import Standby
from worker.control.supervisor import Supervisor
from worker.protocol import TRAINER_MESSAGES, Log, Metrics, RunFailed, TrainerMessage, TrainingFinished
from worker.trainer import launcher, main
from worker.trainer.launcher import RankChannel

AUGMENTED = {
    "name": "synthetic",
    "train_transforms": [{"name": "horizontal_flip"}, {"name": "affine", "degrees": 15.0}],
}
PLAIN: dict[str, Any] = {
    "architecture": {"name": "convnet", "channels": [4, 8], "head": [8]},
    "dataset": AUGMENTED,
    "optimizer": {"name": "sgd", "lr": 0.1},  # Adam amplifies the rounding errors of gradients near 0
    "callbacks": [{"name": "gradient_clip", "max_norm": 1.0}, {"name": "freeze", "match": "*0.bias", "until_epoch": 1}],
}
RANDOM: dict[str, Any] = {
    "epochs": 30,
    "architecture": {"name": "convnet", "channels": [4], "head": [8], "batch_norm": True, "dropout": 0.3},
    "resources": {"devices": 2},
}


def run_distributed(spec: JobSpec, dataset: Path, folder: Path) -> RecordingChannel:
    (folder / "spec.json").write_text(spec.model_dump_json())
    return run_command(folder / "spec.json", dataset, folder / "work")


@pytest.fixture(scope="module")
def weighted_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same samples with weights."""
    folder = tmp_path_factory.mktemp("weighted") / "it"
    add_weights(pack(folder, num_samples=90))
    return folder


WEIGHTED: dict[str, Any] = {
    "loss": {"name": "cross_entropy", "class_weights": [1.0, 2.0, 4.0]},
    "sampler": "weighted",
    "accumulate_batches": 2,
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("fixture", "changes"), [("dataset", {}), ("weighted_dataset", WEIGHTED)])
def test_two_processes_have_the_curve_of_one_process(
    fixture: str, changes: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    dataset, options = request.getfixturevalue(fixture), PLAIN | changes
    status, single = run_job(build_start(build_spec(**options), dataset, tmp_path / "single"))
    assert status == 0
    curve = run_distributed(build_spec(**options, resources={"devices": 2}), dataset, tmp_path).collect_points()
    assert curve.keys() == single.collect_points().keys()
    for point, value in single.collect_points().items():
        assert curve[point] == pytest.approx(value, abs=1e-5), point


@pytest.fixture
def queued(sqlite_sessions: SessionFactory, storage: LocalStorage, dataset: Path) -> JobRow:
    """The random job in the database, with its dataset in the storage."""
    packed = storage.create_scratch_folder()
    names = [path.name for path in dataset.iterdir()]
    for name in names:
        (packed / name).write_bytes((dataset / name).read_bytes())
    storage.publish(packed, "datasets/1/t1")
    files = {name: {"sha256": compute_sha256(dataset / name), "size_bytes": 1} for name in names}
    with transaction(sqlite_sessions) as session:
        version = dataset_version(packed_key="datasets/1/t1", meta={"files": files})
        session.add(version)
        session.flush()
        return JobRepo(session).add(job_row(version, spec=build_spec(**RANDOM).model_dump(mode="json")))


@pytest.fixture
def supervisor(sqlite_sessions: SessionFactory, storage: LocalStorage) -> Iterator[Supervisor]:
    standby = Standby()
    standby.start()
    timeouts = SupervisionTimeouts(lease_s=60.0, heartbeat_s=0.05, grace_s=60.0, flush_s=0.01)
    context = WorkerContext(sqlite_sessions, storage, standby, "worker-1", timeouts)
    yield Supervisor(context, DeviceAllocator(slots=2))
    standby.close()


class Attempts:
    """Attempts of one job, which a test disturbs while they run."""

    def __init__(self, supervisor: Supervisor, sessions: SessionFactory, job_id: str) -> None:
        self.supervisor, self.sessions, self.job_id = supervisor, sessions, job_id

    def read_job(self) -> JobRow:
        with transaction(self.sessions, read_only=True) as session:
            return JobRepo(session).get(self.job_id)

    def get_last_step(self) -> int:
        with transaction(self.sessions, read_only=True) as session:
            return max((row.step for row in CheckpointRepo(session).list_checkpoints(self.job_id)), default=0)

    def run_disturbed(self, disturb: Callable[[dict[str, Any]], object]) -> JobRow:
        """Run one attempt, and disturb it after its first checkpoint. All its processes must end."""
        before = self.get_last_step()
        thread = threading.Thread(target=self.supervisor.run, args=(self.job_id,))
        thread.start()
        wait_for(lambda: self.get_last_step() > before, "a checkpoint", 400)
        runtime = self.read_job().runtime
        assert runtime is not None
        disturb(runtime)
        thread.join(400)
        pids = [runtime["trainer_pid"], *runtime["rank_pids"]]
        assert len(set(pids)) == 3
        wait_for(lambda: not any(is_alive(pid) for pid in pids), "all processes to be gone")
        return self.read_job()


@pytest.fixture(scope="module")
def expected_sha256(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the weights of an uninterrupted run."""
    (finished,) = run_distributed(
        build_spec(**RANDOM), dataset, tmp_path_factory.mktemp("uninterrupted")
    ).select_messages(TrainingFinished)
    return str(finished.files["weights.safetensors"].sha256)


def read_model_sha256(sessions: SessionFactory) -> str:
    with transaction(sessions, read_only=True) as session:
        return ModelRepo(session).resolve("tiny").sha256


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_rank_ends_all_and_the_retry_reaches_the_same_weights(
    supervisor: Supervisor, sqlite_sessions: SessionFactory, queued: JobRow, expected_sha256: str
) -> None:
    attempts = Attempts(supervisor, sqlite_sessions, queued.id)
    row = attempts.run_disturbed(lambda runtime: os.kill(runtime["rank_pids"][1], signal.SIGKILL))
    assert (row.state, row.lost_attempts) == (JobState.QUEUED, 1)
    supervisor.run(queued.id)
    row = attempts.read_job()
    assert row.state is JobState.SUCCEEDED
    assert row.runtime is not None
    assert row.runtime["resumed_from_step"] > 0
    assert read_model_sha256(sqlite_sessions) == expected_sha256


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_launcher_ends_all_ranks_and_a_pause_stops_them_at_the_same_step(
    supervisor: Supervisor, sqlite_sessions: SessionFactory, queued: JobRow, expected_sha256: str
) -> None:
    attempts = Attempts(supervisor, sqlite_sessions, queued.id)
    row = attempts.run_disturbed(lambda runtime: os.kill(runtime["trainer_pid"], signal.SIGKILL))
    assert (row.state, row.lost_attempts) == (JobState.QUEUED, 1)

    def pause(_: object) -> None:
        with transaction(sqlite_sessions) as session:
            JobRepo(session).request_stop(queued.id, StopRequest.PAUSE)

    assert attempts.run_disturbed(pause).state is JobState.PAUSED
    with transaction(sqlite_sessions) as session:
        JobRepo(session).resume(queued.id)
    supervisor.run(queued.id)
    assert attempts.read_job().state is JobState.SUCCEEDED
    assert read_model_sha256(sqlite_sessions) == expected_sha256


def test_rank_0_sends_messages_and_every_rank_reports_errors_to_the_launcher() -> None:
    failure = RunFailed(code="diverged", message="loss is NaN", hint="lower lr")
    messages: tuple[TrainerMessage, ...] = (Log(level="info", message="a"), Log(level="error", message="b"), failure)
    for rank, expected in ((0, ["log"]), (1, [])):
        receiver, sender = Pipe(duplex=False)
        read, write = os.pipe()
        channel = RankChannel(write, rank, sender)
        for message in messages:
            channel.send(message)
        os.close(write)
        with os.fdopen(read) as up:
            assert [json.loads(line)["type"] for line in up] == expected
        assert [TRAINER_MESSAGES.validate_json(receiver.recv_bytes()).type for _ in range(2)] == ["log", "failed"]
        assert not receiver.poll()


@pytest.mark.parametrize(
    ("device", "devices", "visible", "num_gpus", "expected"),
    [
        ("cpu", (), "", 4, ["", ""]),
        ("auto", (), "", 1, ["", ""]),
        ("auto", (), "", 2, ["0", "1"]),
        ("cuda", ("cuda:1", "cuda:3"), "", 4, ["1", "3"]),
        ("cuda", ("cuda:0", "cuda:1"), "5,GPU-7", 2, ["5", "GPU-7"]),
        ("cuda", (), "", 1, None),
    ],
)
def test_each_process_sees_one_device(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    device: str,
    devices: tuple[str, ...],
    visible: str,
    num_gpus: int,
    expected: list[str] | None,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: num_gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: num_gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    start = build_start(
        build_spec(device=device, resources={"devices": 2}), tmp_path, tmp_path / "work", devices=devices
    )
    if expected is None:
        channel = RecordingChannel()
        assert main.launch_or_run(start, channel) == 1
        (failed,) = channel.select_messages(RunFailed)
        assert (failed.code, "2 devices of 'cuda'" in failed.message) == ("invalid_spec", True)
        return
    environments = launcher._build_environments(start, 2)
    assert [environments[rank]["CUDA_VISIBLE_DEVICES"] for rank in range(2)] == expected
    assert environments[1]["GLOO_SOCKET_IFNAME"] in {"lo", "lo0"}


def test_job_on_one_device_runs_in_the_same_process(dataset: Path, tmp_path: Path) -> None:
    channel = RecordingChannel()
    assert main.launch_or_run(build_start(build_spec(), dataset, tmp_path / "work"), channel) == 0
    assert channel.select_messages(Metrics)
