"""Whether the service is ready is told soon, also where a part of it hangs."""

import threading
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait

import pytest

from app.services import readiness as module
from app.services.readiness import ReadinessProbe
from core.errors import NotReady
from tests.support.processes import wait_for


def well() -> None:
    pass


def test_who_is_not_ready_says_why_in_the_words_of_each_part() -> None:
    def away() -> None:
        raise NotReady("The storage cannot be written.")

    def broken() -> None:
        raise OSError("no such host")

    found = ReadinessProbe({"database": well, "storage": away, "queue": broken}).collect_reasons()
    assert found == {"storage": "The storage cannot be written.", "queue": "OSError: no such host"}
    assert ReadinessProbe({"database": well}).collect_reasons() == {}


def test_a_part_that_hangs_is_not_waited_for_and_not_asked_again_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    gone_on, asked = threading.Event(), []

    def hangs() -> None:
        asked.append(1)
        gone_on.wait(60)

    def wait_for_one_first(checks: Collection[Future[None]], patience_s: float) -> None:
        wait(checks, 60, FIRST_COMPLETED)  # on a busy machine the thread of whoever is well may begin late
        wait(checks, patience_s)

    with monkeypatch.context() as patch:
        patch.setattr(module, "wait", wait_for_one_first)
        readiness = ReadinessProbe({"queue": hangs, "database": well}, timeout_s=0.05)
        for _ in range(3):
            assert readiness.collect_reasons() == {"queue": "It does not respond within 0.05 s."}
        wait_for(lambda: asked, "the queue to be asked")
    assert len(asked) == 1
    gone_on.set()
    patient = ReadinessProbe({"queue": hangs}, timeout_s=60)
    assert patient.collect_reasons() == {}
    assert patient.collect_reasons() == {}
    assert len(asked) == 3, "what has answered is asked anew"


def test_all_parts_are_asked_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=60)

    def met() -> None:
        meeting.wait()

    assert ReadinessProbe(dict.fromkeys(("database", "storage", "queue"), met), 60).collect_reasons() == {}


@pytest.mark.parametrize("answers", [1, 8])
def test_those_who_ask_at_once_share_the_answer(answers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    going, asked, found = threading.Event(), [], []
    all_wait = threading.Barrier(answers + 1, timeout=60)

    def slow() -> None:
        asked.append(1)
        assert going.wait(60)

    def wait_with_all(checks: Collection[Future[None]], patience_s: float) -> None:
        all_wait.wait()
        wait(checks, patience_s)

    monkeypatch.setattr(module, "wait", wait_with_all)
    readiness = ReadinessProbe({"queue": slow}, timeout_s=60)
    threads = [threading.Thread(target=lambda: found.append(readiness.collect_reasons())) for _ in range(answers)]
    for thread in threads:
        thread.start()
    all_wait.wait()
    going.set()
    for thread in threads:
        thread.join()
    assert found == [{}] * answers
    assert len(asked) == 1
