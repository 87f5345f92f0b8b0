"""The health check of maintenance succeeds only after a recent round."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from core.db.clock import utc_now
from core.db.registry_tables import SystemReportRow
from core.db.schema import upgrade_schema
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from core.settings import Settings
from worker.maintenance import health


def test_recent_rounds_of_both_loops_are_healthy(sessions: SessionFactory) -> None:
    settings = Settings()
    for loop in (health.LOOP, health.REAPER):
        assert not health.has_recent_rounds(sessions, settings)
        health.record_round(sessions, loop)
    assert health.has_recent_rounds(sessions, settings)
    with transaction(sessions) as session:
        earlier = utc_now() - timedelta(hours=1)
        session.execute(update(SystemReportRow).values(computed_at=earlier))
    assert not health.has_recent_rounds(sessions, settings)
    assert health.has_recent_rounds(sessions, Settings(maintenance_s=600))


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
        for loop in (health.LOOP, health.REAPER):
            health.record_round(make_session_factory(engine), loop)
        engine.dispose()
        with pytest.raises(SystemExit) as exit_:
            health.main()
        assert exit_.value.code is None
