"""A storage that is full, damaged, read-only or unreliable: no damaged file is used, and no intact one is lost."""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.db.session import make_engine, make_session_factory
from core.jobs import TERMINAL, JobState
from core.storage import open_storage
from tests.support import invariants
from tests.support.images import class_images, random_png, write_zip
from tests.support.processes import wait_for
from tests.support.s3 import S3Server
from tests.support.s3_proxy import FaultyS3, Plan, faulty_s3
from tests.support.servers import valkey_server
from tests.support.stack import NUM_EPOCHS_LONG, NUM_EPOCHS_LONGER, TINY, Stack

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]
MIB = 2**20
LARGE: dict[str, Any] = {"architecture": {"name": "mlp", "hidden": [1000, 1000]}, "epochs": 120}  # snapshots of 12 MiB


# -- damaged files ----------------------------------------------------------------------------------------


def pause_job(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """Pause the running job and return its checkpoints, the newest first."""
    stack.wait_for_epoch(job_id)
    assert stack.http.post(f"/v1/jobs/{job_id}/pause").status_code == 202
    stack.wait_until(job_id, lambda row: row.state is JobState.PAUSED, "the pause")
    items: list[dict[str, Any]] = stack.http.get(f"/v1/jobs/{job_id}/checkpoints").json()["items"]
    return sorted(items, key=lambda item: -int(item["number"]))


def get_weights_path(stack: Stack, job_id: str, checkpoint: dict[str, Any]) -> Path:
    """Return the weights file of a checkpoint of the first attempt."""
    return stack.get_stored_path(f"jobs/{job_id}/t1/checkpoints/{checkpoint['number']}/weights.safetensors")


DAMAGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "truncated": lambda content, _: content[: len(content) * 999 // 1000],
    "one wrong bit": lambda content, _: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "another checkpoint's file": lambda _, other: other,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_rows_30_31_and_96_a_damaged_checkpoint_is_skipped(stack: Stack, damage: str) -> None:
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONGER)
    newest, before, *_ = pause_job(stack, job_id)
    damaged, other = get_weights_path(stack, job_id, newest), get_weights_path(stack, job_id, before).read_bytes()
    damaged.write_bytes(DAMAGES[damage](damaged.read_bytes(), other))
    assert stack.http.post(f"/v1/jobs/{job_id}/resume").status_code == 202
    assert stack.get_weights_sha256(job_id) == stack.compute_reference_sha256(epochs=NUM_EPOCHS_LONGER)
    warnings = stack.http.get(f"/v1/jobs/{job_id}").json()["warnings"]
    assert f"Checkpoint {newest['number']} is damaged" in str(warnings)


def test_rows_30_and_31_a_job_without_an_intact_checkpoint_fails(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONGER)
    files = [get_weights_path(stack, job_id, checkpoint) for checkpoint in pause_job(stack, job_id)]
    contents = [path.read_bytes() for path in files]
    for path in files:
        path.write_bytes(b"")
    assert stack.http.post(f"/v1/jobs/{job_id}/resume").status_code == 202
    row = stack.wait_for_end(job_id)
    assert row.failure is not None
    assert (row.state, row.failure["code"], row.failure["retryable"]) == (JobState.FAILED, "checkpoint_corrupt", False)
    for path, content in zip(files, contents, strict=True):
        path.write_bytes(content)


def test_row_96_models_with_swapped_files_are_rejected(stack: Stack) -> None:
    weights = []
    for seed in (1, 2):
        stack.get_weights_sha256(job_id := stack.submit_job(epochs=1, seed=seed, model=f"exchanged-{seed}"))
        weights.append(stack.get_stored_path(f"{stack.get_model(job_id).key}/weights.safetensors"))
    first, second = (path.read_bytes() for path in weights)
    weights[0].write_bytes(second)
    weights[1].write_bytes(first)
    assert [predict_status(stack, seed) for seed in (1, 2)] == [500, 500]
    weights[0].write_bytes(first)
    weights[1].write_bytes(second)
    for seed in (1, 2):  # a failed load is cached for some seconds
        wait_for(lambda seed=seed: predict_status(stack, seed) == 200, "a successful prediction")  # type: ignore[misc]


def predict_status(stack: Stack, seed: int) -> int:
    """Return the status of a prediction by one of the models."""
    headers = {"Content-Type": "image/png"}
    response = stack.http.post(
        f"/v1/models/exchanged-{seed}/predict", content=random_png(1, height=4, width=4), headers=headers
    )
    assert response.status_code == 200 or response.json()["type"] == "/problems/corrupt"
    return response.status_code


# -- a small disk that is full or read-only -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 160 MiB."""
    folder = tmp_path_factory.mktemp("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def stack_on_disk(disk: Path, sqlite_template: Path) -> Iterator[Stack]:
    home = disk / "home"
    home.mkdir()
    url = f"sqlite:///{shutil.copy(sqlite_template, home / 'candela.db')}"
    engine = make_engine(url)
    with valkey_server() as valkey:
        stack = Stack(home, url, valkey.url, make_session_factory(engine))
        yield stack
        stack.close()
    engine.dispose()


@pytest.fixture
def small(stack_on_disk: Stack) -> Iterator[Stack]:
    """A service whose database, store and logs are on the small disk."""
    stack_on_disk.start_missing()
    pids = stack_on_disk.pids
    yield stack_on_disk
    assert stack_on_disk.pids == pids  # no process died of it
    invariants.check(stack_on_disk)


@contextmanager
def fill_disk_while(disk: Path, *, but: int) -> Iterator[None]:
    """Leave only so many bytes free while the context is open."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        while (left := shutil.disk_usage(disk).free - but) > 0:
            file.write(bytes(min(left, MIB)))
            file.flush()
    try:
        yield
    finally:
        ballast.unlink()


def test_row_27_a_job_fails_if_the_disk_is_full_at_a_checkpoint(small: Stack, disk: Path) -> None:
    expected = small.compute_reference_sha256(**LARGE)
    job_id = small.submit_job(**LARGE)
    small.wait_for_epoch(job_id)
    with fill_disk_while(disk, but=20 * MIB):
        row = small.wait_for_end(job_id)
    assert row.failure is not None
    assert (row.state, row.failure["code"], row.failure["retryable"]) == (JobState.FAILED, "disk_full", True)
    assert small.http.get(f"/v1/jobs/{job_id}/checkpoints").json()["items"]
    clone = small.http.post(f"/v1/jobs/{job_id}/clone", json={}).json()["id"]
    assert small.get_weights_sha256(clone) == expected


def test_row_28_an_upload_to_a_full_disk_is_rejected(small: Stack, disk: Path, tmp_path: Path) -> None:
    with fill_disk_while(disk, but=4 * MIB):
        free = shutil.disk_usage(disk).free
        response = small.http.post("/v1/datasets/too-large/versions", content=bytes(16 * MIB))
        assert (response.status_code, response.json()["type"]) == (507, "/problems/storage-full")
        wait_for(lambda: shutil.disk_usage(disk).free > free - MIB, "the space to be freed")
        assert small.http.get("/v1/datasets/too-large").status_code == 404
    body = write_zip(tmp_path / "pets.zip", class_images(2, 6, height=4, width=4)).read_bytes()
    assert small.http.post("/v1/datasets/too-large/versions", content=body).status_code == 202


def test_row_29_a_full_disk_allows_reads_and_rejects_writes(small: Stack, disk: Path) -> None:
    """Reads succeed, writes get a 503 with Retry-After, and accepted jobs finish."""
    accepted = [small.submit_job(epochs=1)]
    with fill_disk_while(disk, but=0):
        while (
            response := small.http.post("/v1/jobs", json={**TINY, "name": "refused", "epochs": 1})
        ).status_code == 202:
            accepted.append(response.json()["id"])  # the database has some free pages
        assert (response.status_code, response.json()["type"]) == (503, "/problems/unavailable")
        assert int(response.headers["Retry-After"]) >= 1
        assert [small.http.get(f"/v1/jobs/{job_id}").status_code for job_id in accepted] == [200] * len(accepted)
        assert small.http.get("/v1/jobs").status_code == 200
    for job_id in accepted:
        row = small.wait_for_end(job_id)
        assert row.state is JobState.SUCCEEDED or (row.failure or {})["code"] == "disk_full", row.failure
    assert small.wait_for_end(small.submit_job(epochs=1)).state is JobState.SUCCEEDED


@contextmanager
def make_read_only(folder: Path) -> Iterator[None]:
    """Make the folder read-only, also for root, while the context is open; open files stay writable."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_row_32_a_read_only_storage_is_not_ready_and_jobs_wait(small: Stack) -> None:
    expected = small.compute_reference_sha256(epochs=NUM_EPOCHS_LONG)
    job_id = small.submit_job(epochs=NUM_EPOCHS_LONG)
    small.wait_for_epoch(job_id)
    with make_read_only(small.home / "store"):
        response = small.http.get("/health/ready")
        assert response.status_code == 503
        assert "Read-only file system" in response.text
        row = small.wait_until(
            job_id, lambda row: row.state is JobState.QUEUED or row.state in TERMINAL, "the job to wait"
        )
        assert (row.state, row.lost_attempts) == (JobState.QUEUED, 0), row.failure
    wait_for(small.is_ready, "the API to be ready again")
    assert small.get_weights_sha256(job_id) == expected
    assert small.get_job(job_id).lost_attempts == 0


# -- an unreliable bucket -----------------------------------------------------------------------------------------


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultyS3]:
    with faulty_s3(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def remote(
    s3: S3Server, proxy: FaultyS3, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    """A service whose files are in a bucket behind the proxy; the test itself reads without faults."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    bucket = s3.new_url()
    database = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'candela.db')}"
    engine = make_engine(database)
    settings = s3.environment(proxy.endpoint) | {"CANDELA_STORAGE_URL": bucket}
    with valkey_server() as valkey:
        stack = Stack(tmp_path / "home", database, valkey.url, make_session_factory(engine), **settings)
        stack.storage = open_storage(bucket, cache=tmp_path / "onlooker")
        stack.start_missing()
        yield stack
        proxy.plan = lambda method, path: "none"
        invariants.check(stack)
        stack.close()
        stack.storage.close()
    engine.dispose()


def fail_regularly() -> Plan:
    """Reject some requests, truncate some responses, and lose some responses of completed requests."""
    numbers = itertools.count(1)

    def plan(method: str, _: str) -> Any:
        number = next(numbers)
        if number % 7 == 0:
            return "refuse"
        if number % 11 == 0:
            return "cut" if method == "GET" else "lose"
        return "none"

    return plan


def test_row_33_a_faulty_bucket_costs_no_attempt(remote: Stack, proxy: FaultyS3) -> None:
    expected = remote.compute_reference_sha256(epochs=12)
    proxy.seen.clear()
    proxy.plan = fail_regularly()
    row = remote.wait_for_end(job_id := remote.submit_job(epochs=12))
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 1, 0), row.failure
    assert len(proxy.seen) > 3 * 11
    assert remote.get_weights_sha256(job_id) == expected
