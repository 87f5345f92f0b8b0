"""Prometheus series of model versions: their number is limited, and unused ones end."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from app.serving.version_series import EXPIRY_S, OTHER, SeriesFilter, VersionSeriesPool

COUNTER = "candela_predictions_dropped_total"


def read(model: str, version: str = "1") -> float | None:
    return REGISTRY.get_sample_value(COUNTER, {"model": model, "version": version})


def list_series(model: str) -> list[str]:
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    return [sample.name for sample in samples if sample.labels.get("model") == model]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "versions"


def expire_files(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (time.time() - 2 * EXPIRY_S,) * 2)


def test_further_versions_share_their_series() -> None:
    pool = VersionSeriesPool(2)
    for model in ("own-1", "own-2", "third", "fourth"):
        pool.assign((model, "1")).dropped.inc()
    assert (read("own-1"), read("own-2"), read("third"), read("fourth")) == (1, 1, None, None)
    assert pool.assign(("third", "1")) is pool.assign(("fourth", "1")) is pool.shared_series
    assert read(*OTHER) == 2
    pool.release(("own-1", "1"))
    pool.release(("own-2", "1"))


def test_released_series_end_and_later_begin_at_zero() -> None:
    pool = VersionSeriesPool(1)
    series = pool.assign(("released", "1"))
    series.dropped.inc(5)
    series.count_rejected("queue", 1)
    assert len(list_series("released")) > 50
    pool.release(("released", "1"))
    assert list_series("released") == []
    series.dropped.inc()  # a batch that ends later
    assert list_series("released") == []
    pool.assign(("released", "1"))
    assert read("released") == 0  # for Prometheus, a counter that was reset
    pool.release(("released", "1"))


def test_processes_choose_the_same_versions(folder: Path) -> None:
    first, second = VersionSeriesPool(1, folder), VersionSeriesPool(1, folder)
    assert first.assign(("a", "1")) is not first.shared_series
    assert second.assign(("b", "1")) is second.shared_series
    assert second.assign(("a", "1")) is not second.shared_series


def test_series_end_when_no_process_uses_them(folder: Path) -> None:
    first, second = VersionSeriesPool(1, folder), VersionSeriesPool(1, folder)
    labels = {"model": "a", "version": "1"}
    first.assign(("a", "1"))
    second.assign(("a", "1"))
    first.release(("a", "1"))
    first.refresh(())
    assert SeriesFilter(folder).is_visible(labels)
    expire_files(folder)
    second.refresh([("a", "1")])
    first.refresh(())
    assert SeriesFilter(folder).is_visible(labels)
    second.release(("a", "1"))
    expire_files(folder)
    first.refresh(())
    assert not SeriesFilter(folder).is_visible(labels)
    assert first.assign(("b", "1")) is not first.shared_series


def test_series_that_other_processes_ended_are_not_used_beyond_the_limit(folder: Path) -> None:
    first, second = VersionSeriesPool(1, folder), VersionSeriesPool(1, folder)
    first.assign(("a", "1"))
    expire_files(folder)
    second.refresh(())
    assert second.assign(("b", "1")) is not second.shared_series
    first.refresh([("a", "1")])  # it is used again
    assert first.own_labels == []
    assert first.assign(("a", "1")) is first.shared_series
    assert [SeriesFilter(folder).is_visible({"model": model, "version": "1"}) for model in "ab"] == [False, True]


def test_a_version_without_its_file_is_assigned_again(folder: Path) -> None:
    first, second = VersionSeriesPool(1, folder), VersionSeriesPool(1, folder)
    first.assign(("a", "1"))
    expire_files(folder)
    second.refresh(())
    second.assign(("b", "1"))
    assert first.assign(("a", "1")) is first.shared_series
    assert first.own_labels == []


def test_processes_that_choose_at_the_same_time_keep_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, waits = VersionSeriesPool(1, folder), threading.Event()
    flock = fcntl.flock

    def record_wait(fd: int, operation: int) -> None:
        assert operation == fcntl.LOCK_EX
        waits.set()
        flock(fd, operation)

    other = os.open(folder, os.O_RDONLY)
    flock(other, fcntl.LOCK_EX)  # another process has counted the files
    monkeypatch.setattr(fcntl, "flock", record_wait)
    with ThreadPoolExecutor(1) as executor:
        assigned = executor.submit(pool.assign, ("a", "1"))
        assert waits.wait(30)
        (folder / "another version").touch()
        os.close(other)
        assert assigned.result(30) is pool.shared_series
    assert len(list(folder.iterdir())) == 1


def test_other_series_are_visible(folder: Path) -> None:
    series_filter = SeriesFilter(folder)
    assert series_filter.is_visible({"route": "/v1/jobs"})
    assert series_filter.is_visible({"model": OTHER[0], "version": OTHER[1]})
    assert not series_filter.is_visible({"model": "a", "version": "1", "outcome": "failed"})


SCRIPT = """
import os, sys, time
from app.http.metrics import render_exposition
from app.serving.version_series import EXPIRY_S, VersionSeriesPool, get_shared_folder

folder = get_shared_folder()
pool = VersionSeriesPool(1, folder)

def read(model):
    lines = render_exposition().decode().splitlines()
    found = [line for line in lines if line.startswith(f'candela_predictions_dropped_total{{model="{model}"')]
    return [line.split()[-1] for line in found]

pool.assign(("own", "1")).dropped.inc(3)
pool.assign(("further", "1")).dropped.inc(2)
print(read("own"), read("further"), read("(other)"))
pool.release(("own", "1"))
for path in folder.iterdir():
    os.utime(path, (time.time() - 2 * EXPIRY_S,) * 2)
pool.refresh(())
print(read("own"))
pool.assign(("own", "1")).dropped.inc()
print(read("own"))
"""


def test_shared_series_are_hidden_and_continue_with_their_values(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert process.stdout.splitlines() == ["['3.0'] [] ['2.0']", "[]", "['4.0']"], process.stderr
