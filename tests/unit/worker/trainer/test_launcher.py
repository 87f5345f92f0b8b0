"""A job on two devices: real trainers with two processes each, alone and under a supervisor."""

import json
import os
import signal
import subprocess
import sys
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
from core.jobs import JobState, StopMode, StopRequest
from core.spec import JobSpec
from core.storage import LocalStorage
from models.bundle import compute_sha256
from tests.support.builders import dataset_version
from tests.support.builders import job as job_row
from tests.support.processes import is_alive, wait_for
from tests.support.trainer import build_start
from tests.support.training import RecordingChannel, add_weights, build_spec, pack
from worker.control.attempt import WorkerContext
from worker.control.devices import DeviceAllocator
from worker.control.lease import SupervisionTimeouts
from worker.control.standby import Standby
from worker.control.supervisor import Supervisor
from worker.protocol import TRAINER_MESSAGES, Log, Metrics, RunFailed, Stop, TrainerMessage, TrainingFinished
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


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=90)
    return folder


def command(spec: JobSpec, dataset: Path, folder: Path) -> RecordingChannel:
    """All that the trainer's own command says of the job."""
    (folder / "spec.json").write_text(spec.model_dump_json())
    places = {"--spec": folder / "spec.json", "--dataset-dir": dataset, "--work-dir": folder / "work"}
    words = [str(word) for pair in places.items() for word in pair]
    done = subprocess.run([sys.executable, "-m", "worker.trainer", *words], capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    told = RecordingChannel()
    for line in done.stdout.splitlines():
        told.send(TRAINER_MESSAGES.validate_json(line))
    return told


@pytest.fixture(scope="module")
def weighted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same samples, each with a weight."""
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
@pytest.mark.parametrize(("fixture", "changes"), [("dataset", {}), ("weighted", WEIGHTED)])
def test_two_processes_have_the_curve_of_one(
    fixture: str, changes: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    alone, dataset, asked = RecordingChannel(), request.getfixturevalue(fixture), PLAIN | changes
    assert main.run_job(build_start(build_spec(**asked), dataset, tmp_path / "alone"), alone) == 0
    curve = command(build_spec(**asked, resources={"devices": 2}), dataset, tmp_path).collect_points()
    assert curve.keys() == alone.collect_points().keys()
    for place, value in alone.collect_points().items():
        assert curve[place] == pytest.approx(value, abs=1e-5), place


@pytest.fixture
def queued(sqlite_sessions: SessionFactory, storage: LocalStorage, dataset: Path) -> JobRow:
    """The same job in the database, with its dataset in the store."""
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
    """Attempts at the only job, each looked at while it is under way."""

    def __init__(self, supervisor: Supervisor, sessions: SessionFactory, job_id: str) -> None:
        self.supervisor, self.sessions, self.job_id = supervisor, sessions, job_id

    def look(self) -> JobRow:
        with transaction(self.sessions, read_only=True) as session:
            return JobRepo(session).get(self.job_id)

    def newest(self) -> int:
        with transaction(self.sessions, read_only=True) as session:
            return max((row.step for row in CheckpointRepo(session).list_checkpoints(self.job_id)), default=0)

    def run(self, disturb: Callable[[dict[str, Any]], object]) -> JobRow:
        """One more, disturbed after its first checkpoint; all its processes are gone at the end."""
        before = self.newest()
        thread = threading.Thread(target=self.supervisor.run, args=(self.job_id,))
        thread.start()
        wait_for(lambda: self.newest() > before, "a checkpoint", 400)
        runtime = self.look().runtime
        assert runtime is not None
        disturb(runtime)
        thread.join(400)
        pids = [runtime["trainer_pid"], *runtime["rank_pids"]]
        assert len(set(pids)) == 3
        wait_for(lambda: not any(is_alive(pid) for pid in pids), "all processes to be gone")
        return self.look()


@pytest.fixture(scope="module")
def undisturbed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sum of the weights that the job ends with if nothing happens."""
    (finished,) = command(build_spec(**RANDOM), dataset, tmp_path_factory.mktemp("undisturbed")).select_messages(
        TrainingFinished
    )
    return str(finished.files["weights.safetensors"].sha256)


def registered(sessions: SessionFactory) -> str:
    with transaction(sessions, read_only=True) as session:
        return ModelRepo(session).resolve("tiny").sha256


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_where_a_rank_is_killed_all_are_and_go_on_from_the_checkpoint_to_the_same_weights(
    supervisor: Supervisor, sqlite_sessions: SessionFactory, queued: JobRow, undisturbed: str
) -> None:
    attempts = Attempts(supervisor, sqlite_sessions, queued.id)
    row = attempts.run(lambda runtime: os.kill(runtime["rank_pids"][1], signal.SIGKILL))
    assert (row.state, row.lost_attempts) == (JobState.QUEUED, 1)
    supervisor.run(queued.id)
    row = attempts.look()
    assert row.state is JobState.SUCCEEDED
    assert row.runtime is not None
    assert row.runtime["resumed_from_step"] > 0
    assert registered(sqlite_sessions) == undisturbed


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_where_the_launcher_is_killed_no_rank_survives_and_a_pause_reaches_all_at_the_same_step(
    supervisor: Supervisor, sqlite_sessions: SessionFactory, queued: JobRow, undisturbed: str
) -> None:
    attempts = Attempts(supervisor, sqlite_sessions, queued.id)
    row = attempts.run(lambda runtime: os.kill(runtime["trainer_pid"], signal.SIGKILL))
    assert (row.state, row.lost_attempts) == (JobState.QUEUED, 1)

    def pause(_: object) -> None:
        with transaction(sqlite_sessions) as session:
            JobRepo(session).request_stop(queued.id, StopRequest.PAUSE)

    assert attempts.run(pause).state is JobState.PAUSED
    with transaction(sqlite_sessions) as session:
        JobRepo(session).resume(queued.id)
    supervisor.run(queued.id)
    assert attempts.look().state is JobState.SUCCEEDED
    assert registered(sqlite_sessions) == undisturbed


def test_only_rank_0_speaks_and_the_launcher_hears_of_failures_alone() -> None:
    failure = RunFailed(code="diverged", message="loss is NaN", hint="lower lr")
    told: tuple[TrainerMessage, ...] = (Log(level="info", message="a"), Log(level="error", message="b"), failure)
    for rank, expected in ((0, ["log"]), (1, [])):
        receiver, sender = Pipe(duplex=False)
        read, write = os.pipe()
        channel = RankChannel(write, rank, sender)
        for message in told:
            channel.send(message)
        os.close(write)
        with os.fdopen(read) as up:
            assert [json.loads(line)["type"] for line in up] == expected
        assert [TRAINER_MESSAGES.validate_json(receiver.recv_bytes()).type for _ in range(2)] == ["log", "failed"]
        assert not receiver.poll()


def test_a_wish_is_passed_on_even_if_it_came_before() -> None:
    channel, heard = RecordingChannel(), list[str]()
    channel.request_stop(StopMode.PAUSE)
    channel.forward_stop_to(heard.append)
    channel._handle_line(Stop(mode=StopMode.CANCEL).model_dump_json().encode())
    assert (heard, channel.stop_mode) == ([StopMode.PAUSE, StopMode.CANCEL], StopMode.CANCEL)


@pytest.mark.parametrize(
    ("device", "lent", "visible", "found", "expected"),
    [
        ("cpu", (), "", 4, ["", ""]),
        ("auto", (), "", 1, ["", ""]),
        ("auto", (), "", 2, ["0", "1"]),
        ("cuda", ("cuda:1", "cuda:3"), "", 4, ["1", "3"]),
        ("cuda", ("cuda:0", "cuda:1"), "5,GPU-7", 2, ["5", "GPU-7"]),
        ("cuda", (), "", 1, None),
    ],
)
def test_every_process_sees_its_own_device_alone(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    device: str,
    lent: tuple[str, ...],
    visible: str,
    found: int,
    expected: list[str] | None,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: found > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: found)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    order = build_start(build_spec(device=device, resources={"devices": 2}), tmp_path, tmp_path / "work", devices=lent)
    if expected is None:
        channel = RecordingChannel()
        assert main.launch_or_run(order, channel) == 1
        (failed,) = channel.select_messages(RunFailed)
        assert (failed.code, "2 devices of 'cuda'" in failed.message) == ("invalid_spec", True)
        return
    environments = launcher._build_environments(order, 2)
    assert [environments[rank]["CUDA_VISIBLE_DEVICES"] for rank in range(2)] == expected
    assert environments[1]["GLOO_SOCKET_IFNAME"] in {"lo", "lo0"}


def test_a_trainer_alone_starts_no_other(dataset: Path, tmp_path: Path) -> None:
    channel = RecordingChannel()
    assert main.launch_or_run(build_start(build_spec(), dataset, tmp_path / "work"), channel) == 0
    assert channel.select_messages(Metrics)
