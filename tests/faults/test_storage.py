"""A store that is full, damaged, mixed up, read-only or flaky: nothing damaged is used, and nothing whole is lost."""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.db.session import make_engine, make_sessions
from core.jobs import TERMINAL, JobState
from core.storage import open_storage
from tests.support import invariants
from tests.support.images import classes, png, zip_of
from tests.support.processes import wait_for
from tests.support.s3 import S3Server
from tests.support.s3_proxy import FaultyS3, Plan, faulty_s3
from tests.support.servers import valkey_server
from tests.support.stack import LONG, LONGER, TINY, Stack

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]
MIB = 2**20
LARGE: dict[str, Any] = {"architecture": {"name": "mlp", "hidden": [1000, 1000]}, "epochs": 120}  # snapshots of 12 MiB


# -- files that are damaged ----------------------------------------------------------------------------------------


def paused(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """The checkpoints of the job, the newest first, after it was paused on its way."""
    stack.under_way(job_id)
    assert stack.http.post(f"/v1/jobs/{job_id}/pause").status_code == 202
    stack.until(job_id, lambda row: row.state is JobState.PAUSED, "the pause")
    items: list[dict[str, Any]] = stack.http.get(f"/v1/jobs/{job_id}/checkpoints").json()["items"]
    return sorted(items, key=lambda item: -int(item["number"]))


def weights_of(stack: Stack, job_id: str, checkpoint: dict[str, Any]) -> Path:
    """The file of a checkpoint of the job's first attempt."""
    return stack.file(f"jobs/{job_id}/t1/checkpoints/{checkpoint['number']}/weights.safetensors")


DAMAGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "cut by a thousandth": lambda content, _: content[: len(content) * 999 // 1000],
    "one bit": lambda content, _: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "another's": lambda _, other: other,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_rows_30_31_and_96_a_damaged_checkpoint_is_passed_over(stack: Stack, damage: str) -> None:
    job_id = stack.post(epochs=LONGER)
    newest, before, *_ = paused(stack, job_id)
    victim, other = weights_of(stack, job_id, newest), weights_of(stack, job_id, before).read_bytes()
    victim.write_bytes(DAMAGES[damage](victim.read_bytes(), other))
    assert stack.http.post(f"/v1/jobs/{job_id}/resume").status_code == 202
    assert stack.weights(job_id) == stack.twin(epochs=LONGER)
    warnings = stack.http.get(f"/v1/jobs/{job_id}").json()["warnings"]
    assert f"Checkpoint {newest['number']} is damaged" in str(warnings)


def test_rows_30_and_31_without_an_undamaged_checkpoint_the_job_fails(stack: Stack) -> None:
    job_id = stack.post(epochs=LONGER)
    files = [weights_of(stack, job_id, checkpoint) for checkpoint in paused(stack, job_id)]
    whole = [path.read_bytes() for path in files]
    for path in files:
        path.write_bytes(b"")
    assert stack.http.post(f"/v1/jobs/{job_id}/resume").status_code == 202
    row = stack.finished(job_id)
    assert row.failure is not None
    assert (row.state, row.failure["code"], row.failure["retryable"]) == (JobState.FAILED, "checkpoint_corrupt", False)
    for path, content in zip(files, whole, strict=True):
        path.write_bytes(content)


def test_row_96_models_whose_files_were_exchanged_are_refused(stack: Stack) -> None:
    weights = []
    for seed in (1, 2):
        stack.weights(job_id := stack.post(epochs=1, seed=seed, model=f"exchanged-{seed}"))
        weights.append(stack.file(f"{stack.model(job_id).key}/weights.safetensors"))
    first, second = (path.read_bytes() for path in weights)
    weights[0].write_bytes(second)
    weights[1].write_bytes(first)
    assert [status(stack, seed) for seed in (1, 2)] == [500, 500]
    weights[0].write_bytes(first)
    weights[1].write_bytes(second)
    for seed in (1, 2):  # that it could not be loaded is remembered for some seconds
        wait_for(lambda seed=seed: status(stack, seed) == 200, "a good answer")  # type: ignore[misc]


def status(stack: Stack, seed: int) -> int:
    """Of a prediction by one of the models."""
    headers = {"Content-Type": "image/png"}
    answer = stack.http.post(f"/v1/models/exchanged-{seed}/predict", content=png(1, height=4, width=4), headers=headers)
    assert answer.status_code == 200 or answer.json()["type"] == "/problems/corrupt"
    return answer.status_code


# -- a small disk that is full, or read-only -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 160 MiB."""
    folder = tmp_path_factory.mktemp("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def whole_on_disk(disk: Path, sqlite_template: Path) -> Iterator[Stack]:
    home = disk / "home"
    home.mkdir()
    url = f"sqlite:///{shutil.copy(sqlite_template, home / 'candela.db')}"
    engine = make_engine(url)
    with valkey_server() as valkey:
        stack = Stack(home, url, valkey.url, make_sessions(engine))
        yield stack
        stack.close()
    engine.dispose()


@pytest.fixture
def small(whole_on_disk: Stack) -> Iterator[Stack]:
    """A service whose database, store and logs are on the small disk."""
    whole_on_disk.heal()
    pids = whole_on_disk.pids
    yield whole_on_disk
    assert whole_on_disk.pids == pids  # nobody died of it
    invariants.check(whole_on_disk)


@contextmanager
def filled(disk: Path, *, but: int) -> Iterator[None]:
    """Meanwhile, only so many bytes are left."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        while (left := shutil.disk_usage(disk).free - but) > 0:
            file.write(bytes(min(left, MIB)))
            file.flush()
    try:
        yield
    finally:
        ballast.unlink()


def test_row_27_the_disk_is_full_at_a_checkpoint(small: Stack, disk: Path) -> None:
    expected = small.twin(**LARGE)
    job_id = small.post(**LARGE)
    small.under_way(job_id)
    with filled(disk, but=20 * MIB):
        row = small.finished(job_id)
    assert row.failure is not None
    assert (row.state, row.failure["code"], row.failure["retryable"]) == (JobState.FAILED, "disk_full", True)
    assert small.http.get(f"/v1/jobs/{job_id}/checkpoints").json()["items"]
    again = small.http.post(f"/v1/jobs/{job_id}/clone", json={}).json()["id"]
    assert small.weights(again) == expected


def test_row_28_the_disk_is_full_at_an_upload(small: Stack, disk: Path, tmp_path: Path) -> None:
    with filled(disk, but=4 * MIB):
        free = shutil.disk_usage(disk).free
        answer = small.http.post("/v1/datasets/too-large/versions", content=bytes(16 * MIB))
        assert (answer.status_code, answer.json()["type"]) == (507, "/problems/storage-full")
        wait_for(lambda: shutil.disk_usage(disk).free > free - MIB, "the space to be free again")
        assert small.http.get("/v1/datasets/too-large").status_code == 404
    body = zip_of(tmp_path / "pets.zip", classes(2, 6, height=4, width=4)).read_bytes()
    assert small.http.post("/v1/datasets/too-large/versions", content=body).status_code == 202


def test_row_29_the_disk_of_the_database_and_the_logs_is_full(small: Stack, disk: Path) -> None:
    """Reading goes on, writing is a 503 that says when to come back; what was accepted comes to its end."""
    accepted = [small.post(epochs=1)]
    with filled(disk, but=0):
        while (answer := small.http.post("/v1/jobs", json={**TINY, "name": "refused", "epochs": 1})).status_code == 202:
            accepted.append(answer.json()["id"])  # the database has some pages left
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert [small.http.get(f"/v1/jobs/{job_id}").status_code for job_id in accepted] == [200] * len(accepted)
        assert small.http.get("/v1/jobs").status_code == 200
    for job_id in accepted:
        row = small.finished(job_id)
        assert row.state is JobState.SUCCEEDED or (row.failure or {})["code"] == "disk_full", row.failure
    assert small.finished(small.post(epochs=1)).state is JobState.SUCCEEDED


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Meanwhile nothing in the folder can be written, by root neither; open files stay as they are."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_row_32_a_store_that_cannot_be_written_is_not_ready_and_jobs_wait_for_it(small: Stack) -> None:
    expected = small.twin(epochs=LONG)
    job_id = small.post(epochs=LONG)
    small.under_way(job_id)
    with read_only(small.home / "store"):
        answer = small.http.get("/health/ready")
        assert answer.status_code == 503
        assert "Read-only file system" in answer.text
        row = small.until(job_id, lambda row: row.state is JobState.QUEUED or row.state in TERMINAL, "it to wait")
        assert (row.state, row.lost_attempts) == (JobState.QUEUED, 0), row.failure
    wait_for(small.is_ready, "the API to be ready again")
    assert small.weights(job_id) == expected
    assert small.job(job_id).lost_attempts == 0


# -- a bucket on a bad day -----------------------------------------------------------------------------------------


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultyS3]:
    with faulty_s3(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def remote(
    s3: S3Server, proxy: FaultyS3, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    """A service whose files are in a bucket; what this test reads there comes without the faults."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    bucket = s3.new_url()
    database = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'candela.db')}"
    engine = make_engine(database)
    settings = s3.environment(proxy.endpoint) | {"CANDELA_STORAGE_URL": bucket}
    with valkey_server() as valkey:
        stack = Stack(tmp_path / "home", database, valkey.url, make_sessions(engine), **settings)
        stack.storage = open_storage(bucket, cache=tmp_path / "onlooker")
        stack.heal()
        yield stack
        proxy.plan = lambda method, path: "none"
        invariants.check(stack)
        stack.close()
        stack.storage.close()
    engine.dispose()


def now_and_then() -> Plan:
    """Some requests are refused, some answers cut, and some things done without an answer."""
    numbers = itertools.count(1)

    def plan(method: str, _: str) -> Any:
        number = next(numbers)
        if number % 7 == 0:
            return "refuse"
        if number % 11 == 0:
            return "cut" if method == "GET" else "lose"
        return "none"

    return plan


def test_row_33_a_bucket_that_refuses_cuts_and_loses_costs_no_attempt(remote: Stack, proxy: FaultyS3) -> None:
    expected = remote.twin(epochs=12)
    proxy.seen.clear()
    proxy.plan = now_and_then()
    row = remote.finished(job_id := remote.post(epochs=12))
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 1, 0), row.failure
    assert len(proxy.seen) > 3 * 11
    assert remote.weights(job_id) == expected
