"""The health check of maintenance succeeds only after a recent round."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from core.db.clock import utc_now
from core.db.registry_tables import SystemReportRow
from core.db.schema import upgrade_schema
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from core.settings import Settings
from tests.support.fakes import Clock
from worker.maintenance import health


def test_recent_rounds_of_all_loops_are_healthy(sessions: SessionFactory) -> None:
    settings = Settings()
    for loop in ("maintenance", "reaper", "sweeps"):
        assert not health.has_recent_rounds(sessions, settings)
        health.RoundRecorder(sessions, loop).record_round()
    assert health.has_recent_rounds(sessions, settings)
    with transaction(sessions) as session:
        earlier = utc_now() - timedelta(hours=1)
        session.execute(update(SystemReportRow).values(computed_at=earlier))
    assert not health.has_recent_rounds(sessions, settings)
    assert health.has_recent_rounds(sessions, Settings(maintenance_s=600))


def test_frequent_rounds_are_stored_once_per_interval(sqlite_sessions: SessionFactory, clock: Clock) -> None:
    recorder = health.RoundRecorder(sqlite_sessions, health.SWEEPS, 10.0, clock=clock)

    def count_rows() -> int:
        with transaction(sqlite_sessions) as session:
            deleted = session.execute(delete(SystemReportRow).returning(SystemReportRow.name)).all()
        return len(deleted)

    stored = []
    for _ in range(5):
        recorder.record_round()
        stored.append(count_rows())
        clock.now += 4
    assert stored == [1, 0, 0, 1, 0]


@pytest.mark.parametrize("is_migrated", [True, False])
def test_the_command_says_why_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_migrated: bool) -> None:
    url = f"sqlite:///{tmp_path / 'candela.db'}"
    monkeypatch.setenv("CANDELA_DATABASE_URL", url)
    if is_migrated:
        upgrade_schema(url)
    with pytest.raises(SystemExit) as exit_:
        health.main()
    reason = "Maintenance has not completed a round recently." if is_migrated else "The database cannot be read: "
    assert str(exit_.value.code).startswith(reason)
    if is_migrated:
        engine = make_engine(url)
        for loop in health.LOOPS:
            health.RoundRecorder(make_session_factory(engine), loop).record_round()
        engine.dispose()
        with pytest.raises(SystemExit) as exit_:
            health.main()
        assert exit_.value.code is None
