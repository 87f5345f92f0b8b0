"""The readiness probe responds in time, also when a check hangs."""

import threading
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait

import pytest

from app.services import readiness as module
from app.services.readiness import ReadinessProbe
from core.errors import NotReady
from tests.support.processes import wait_for


def succeed() -> None:
    pass


def test_reasons_are_the_messages_of_failing_checks() -> None:
    def fail() -> None:
        raise NotReady("The storage cannot be written.")

    def crash() -> None:
        raise OSError("no such host")

    results = ReadinessProbe({"database": succeed, "storage": fail, "queue": crash}).collect_reasons()
    assert results == {"storage": "The storage cannot be written.", "queue": "OSError: no such host"}
    assert ReadinessProbe({"database": succeed}).collect_reasons() == {}


def test_hanging_check_times_out_and_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    release, calls = threading.Event(), []

    def hang() -> None:
        calls.append(1)
        release.wait(60)

    def wait_for_one_first(checks: Collection[Future[None]], timeout_s: float) -> None:
        wait(checks, 60, FIRST_COMPLETED)  # on a busy machine the thread of the other check may start late
        wait(checks, timeout_s)

    with monkeypatch.context() as patch:
        patch.setattr(module, "wait", wait_for_one_first)
        readiness = ReadinessProbe({"queue": hang, "database": succeed}, timeout_s=0.05)
        for _ in range(3):
            assert readiness.collect_reasons() == {"queue": "It does not respond within 0.05 s."}
        wait_for(lambda: calls, "the check of the queue")
    assert len(calls) == 1
    release.set()
    slow_probe = ReadinessProbe({"queue": hang}, timeout_s=60)
    assert slow_probe.collect_reasons() == {}
    assert slow_probe.collect_reasons() == {}
    assert len(calls) == 3, "a check that has ended starts again"


def test_checks_run_concurrently() -> None:
    barrier = threading.Barrier(3, timeout=60)

    def wait_for_all() -> None:
        barrier.wait()

    assert ReadinessProbe(dict.fromkeys(("database", "storage", "queue"), wait_for_all), 60).collect_reasons() == {}


@pytest.mark.parametrize("num_probes", [1, 8])
def test_concurrent_probes_share_one_check(num_probes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    release, calls, results = threading.Event(), [], []
    all_wait = threading.Barrier(num_probes + 1, timeout=60)

    def slow() -> None:
        calls.append(1)
        assert release.wait(60)

    def wait_with_all(checks: Collection[Future[None]], timeout_s: float) -> None:
        all_wait.wait()
        wait(checks, timeout_s)

    monkeypatch.setattr(module, "wait", wait_with_all)
    readiness = ReadinessProbe({"queue": slow}, timeout_s=60)
    threads = [threading.Thread(target=lambda: results.append(readiness.collect_reasons())) for _ in range(num_probes)]
    for thread in threads:
        thread.start()
    all_wait.wait()
    release.set()
    for thread in threads:
        thread.join()
    assert results == [{}] * num_probes
    assert len(calls) == 1
