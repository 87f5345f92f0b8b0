"""The threads in which imports run."""

import threading

import pytest
import structlog

from tests.support.processes import wait_for
from worker.importing import pool
from worker.importing.pool import ImportPool, choose_num_places


class Queue:
    """Versions that wait, and imports that end when `is_done` is set."""

    def __init__(self, num_versions: int) -> None:
        self.waiting = [f"waiting-{number}" for number in range(num_versions)]
        self.running: list[str] = []
        self.finished: list[str] = []
        self.is_done = threading.Event()
        self._mutex = threading.Lock()

    def find_next(self) -> str | None:
        with self._mutex:
            return self.waiting[0] if self.waiting else None

    def run(self, version_id: str) -> bool:
        with self._mutex:
            if version_id in self.waiting:
                self.waiting.remove(version_id)
            self.running.append(version_id)
        assert self.is_done.wait(60)
        with self._mutex:
            self.running.remove(version_id)
            self.finished.append(version_id)
        return True


def test_as_many_imports_run_as_there_are_places_and_the_others_follow() -> None:
    queue = Queue(num_versions=3)
    imports = ImportPool(2, queue.find_next, queue.run)
    for number in range(20):  # most messages find no free place, and take no thread
        imports.submit(f"message-{number}")
    wait_for(lambda: len(queue.running) == 2, "two imports")
    wait_for(lambda: imports._threads._work_queue.empty(), "the messages that find no free place")
    assert len(queue.running) == 2
    queue.is_done.set()
    wait_for(lambda: len(queue.finished) == 5, "the imports that wait")
    imports.close()
    assert set(queue.finished) >= {"waiting-0", "waiting-1", "waiting-2"}


def test_an_error_ends_one_import_and_is_logged() -> None:
    def run(version_id: str) -> bool:
        if version_id == "bad":
            raise OSError("broken")
        done.append(version_id)
        return True

    done: list[str] = []
    imports = ImportPool(1, lambda: None, run)
    with structlog.testing.capture_logs() as lines:
        imports.submit("bad")
        wait_for(lambda: lines, "the log line")
    assert (lines[0]["event"], lines[0]["dataset_version_id"]) == ("import.failed_unexpectedly", "bad")
    imports.submit("good")
    wait_for(lambda: done == ["good"], "the next import")
    imports.close()


@pytest.mark.parametrize(("cores", "gibibytes", "places"), [(1, 64, 1), (2, 64, 2), (64, 256, 4), (8, 5, 2), (8, 1, 1)])
def test_the_number_of_places_depends_on_cores_and_memory(
    cores: int, gibibytes: int, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "count_usable_cores", lambda: cores)
    monkeypatch.setattr(pool, "get_memory_bytes", lambda: gibibytes * 2**30)
    assert choose_num_places() == places
