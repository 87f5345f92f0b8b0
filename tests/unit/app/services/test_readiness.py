"""Whether the service is ready is told soon, also where a part of it hangs."""

import threading

import pytest

from app.services.readiness import Readiness
from core.errors import NotReady


def well() -> None:
    pass


def test_who_is_not_ready_says_why_in_the_words_of_each_part() -> None:
    def away() -> None:
        raise NotReady("The storage cannot be written.")

    def broken() -> None:
        raise OSError("no such host")

    found = Readiness({"database": well, "storage": away, "queue": broken}).reasons()
    assert found == {"storage": "The storage cannot be written.", "queue": "OSError: no such host"}
    assert Readiness({"database": well}).reasons() == {}


def test_a_part_that_hangs_is_not_waited_for_and_not_asked_again_meanwhile() -> None:
    gone_on, asked = threading.Event(), []

    def hangs() -> None:
        asked.append(1)
        gone_on.wait(60)

    readiness = Readiness({"queue": hangs, "database": well}, patience_s=0.05)
    for _ in range(3):
        assert readiness.reasons() == {"queue": "It does not answer within 0.05 s."}
    assert len(asked) == 1
    gone_on.set()
    patient = Readiness({"queue": hangs}, patience_s=60)
    assert patient.reasons() == {}
    assert patient.reasons() == {}
    assert len(asked) == 3, "what has answered is asked anew"


def test_all_parts_are_asked_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=60)

    def met() -> None:
        meeting.wait()

    assert Readiness(dict.fromkeys(("database", "storage", "queue"), met), 60).reasons() == {}


@pytest.mark.parametrize("answers", [1, 8])
def test_those_who_ask_at_once_share_the_answer(answers: int) -> None:
    going, asked, found = threading.Event(), [], []

    def slow() -> None:
        asked.append(1)
        going.wait(60)

    readiness = Readiness({"queue": slow}, patience_s=60)
    threads = [threading.Thread(target=lambda: found.append(readiness.reasons())) for _ in range(answers)]
    for thread in threads:
        thread.start()
    while not asked:
        pass
    going.set()
    for thread in threads:
        thread.join()
    assert found == [{}] * answers
