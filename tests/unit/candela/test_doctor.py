"""The doctor's checks: the settings, the engine, the database, the queue and the storage as configured."""

import os
import shutil
from pathlib import Path

import pytest
import redis
from sqlalchemy import func, select

from candela import doctor
from candela.errors import CandelaError
from core.db.session import make_engine
from core.db.tables import IdempotencyRow
from core.errors import ConfigurationError
from tests.support.damage import DAMAGES, Damage
from tests.support.servers import RedisServer

LINE = (
    "autograd -3.4 and 0.8; rosenbrock 6.962555e-05 after 1000 steps at (0.9918, 0.9830); lbfgs 20 + 7 evaluations to "
    "5.356e-12, strong Wolfe 22 to 6.606e-12; losses 0.81, 0.643351, 0.23665"
)


def test_workshop_figures_are_printed_with_all_digits() -> None:
    assert doctor.check_figures(Path("nowhere"), os.environ) == LINE


def test_wrong_figure_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Done:
        returncode = 0
        stdout = '[{"name": "loss: mse", "actual": 0.5, "expected": 0.81, "tolerance": 1e-6, "is_passed": false}]'

    monkeypatch.setattr("candela.doctor.subprocess.run", lambda *_, **__: Done)
    with pytest.raises(CandelaError, match=r"loss: mse is 0\.5, expected 0\.81"):
        doctor.check_figures(Path("nowhere"), os.environ)


def test_an_intact_database_is_reported_with_its_file(sqlite_template: Path, tmp_path: Path) -> None:
    shutil.copy(sqlite_template, tmp_path / "candela.db")
    assert doctor.check_database(tmp_path, {}).endswith(f"{tmp_path / 'candela.db'} is intact")


def test_a_missing_database_is_created_at_the_first_start(tmp_path: Path) -> None:
    assert "will be created at the first start" in doctor.check_database(tmp_path / "new", {})


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_database_is_reported_with_its_file(sqlite_template: Path, tmp_path: Path, damage: Damage) -> None:
    damage(Path(shutil.copy(sqlite_template, tmp_path / "candela.db")))
    with pytest.raises(ConfigurationError) as raised:
        doctor.check_database(tmp_path, {})
    assert str(tmp_path / "candela.db") in str(raised.value)


def test_a_password_is_not_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_DATABASE_URL", "postgresql://candela:hidden@127.0.0.1:1/candela")
    monkeypatch.setenv("CANDELA_REDIS_URL", "redis://:hidden@127.0.0.1:1/0")
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in ("database", "queue")})
    assert not doctor.run_checks(Path("nowhere"))
    output = capsys.readouterr().out
    assert len(output.splitlines()) == 2
    assert "hidden" not in output


def test_the_settings_are_checked_with_the_nearest_name_of_unknown_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_SLOT", "3")
    assert "CANDELA_SLOT is not a setting and has no effect; did you mean CANDELA_SLOTS?" in doctor.check_settings(
        Path("nowhere"), os.environ
    )
    monkeypatch.setenv("CANDELA_SLOTS", "abc")
    with pytest.raises(ConfigurationError, match="CANDELA_SLOTS='abc': must be an integer of at least 1"):
        doctor.check_settings(Path("nowhere"), os.environ)


def test_variables_of_the_env_file_are_checked_unless_the_environment_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("CANDELA_DATABASE_URL=a\nCANDELA_REDIS_URL=b\nAWS_REGION=c\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANDELA_REDIS_URL", "d")
    monkeypatch.delenv("CANDELA_DATABASE_URL", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    environ = doctor.read_environment()
    assert (environ["CANDELA_DATABASE_URL"], environ["CANDELA_REDIS_URL"]) == ("a", "d")
    assert "AWS_REGION" not in environ  # the storage reads it from the environment only


def create_file(url: str) -> None:
    """Connect to a database once, which creates the file of SQLite."""
    engine = make_engine(url)
    engine.connect().close()
    engine.dispose()


@pytest.mark.services
def test_a_database_server_is_written_and_its_schema_compared(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    finding = doctor.check_database(tmp_path, {"CANDELA_DATABASE_URL": database_url})
    assert " is writable" in finding
    engine = make_engine(database_url)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(IdempotencyRow)).scalar_one() == 0
    engine.dispose()
    create_file(empty_database_url)
    with pytest.raises(CandelaError, match=r"the schema of .* is absent; .*; run `candela migrate`"):
        doctor.check_database(tmp_path, {"CANDELA_DATABASE_URL": empty_database_url})


def test_an_old_schema_of_the_embedded_database_is_upgraded_at_the_next_start(tmp_path: Path) -> None:
    create_file(f"sqlite:///{tmp_path / 'candela.db'}")
    assert "the schema is upgraded at the next start" in doctor.check_database(tmp_path, {})


@pytest.mark.services
def test_a_queue_server_is_written_and_left_empty(valkey: RedisServer) -> None:
    with valkey.client as client:
        client.flushall()
    assert " is writable, version " in doctor.check_queue(Path("nowhere"), {"CANDELA_REDIS_URL": valkey.url})
    with valkey.client as client:
        assert client.dbsize() == 0


@pytest.mark.services
def test_a_queue_server_that_evicts_keys_is_reported(valkey: RedisServer) -> None:
    with valkey.client as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(CandelaError, match="set it to noeviction"):
                doctor.check_queue(Path("nowhere"), {"CANDELA_REDIS_URL": valkey.url})
        finally:
            client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.services
def test_a_wrong_password_of_the_queue_is_reported_without_it(valkey: RedisServer) -> None:
    with valkey.client as client:
        client.config_set("requirepass", "right")
    try:
        with pytest.raises(CandelaError, match="CANDELA_REDIS_URL") as raised:
            doctor.check_queue(Path("nowhere"), {"CANDELA_REDIS_URL": valkey.url})
        assert "right" not in str(raised.value)
    finally:
        with redis.Redis(unix_socket_path=str(valkey.socket), password="right") as client:
            client.config_set("requirepass", "")


def test_a_folder_that_cannot_be_written_is_reported_with_what_to_do() -> None:
    with pytest.raises(CandelaError, match=r"cannot be written: .*; give the user of the service access"):
        doctor.check_storage(Path("/proc/candela"), {})


@pytest.mark.parametrize("url", ["store", "gs://bucket", "s3:/bucket", "file://relative/path"])
def test_a_wrong_storage_url_is_reported_with_the_accepted_ones(url: str, tmp_path: Path) -> None:
    with pytest.raises(CandelaError, match="must be file:///path, with an absolute path, or s3://bucket/prefix"):
        doctor.check_storage(tmp_path, {**os.environ, "CANDELA_STORAGE_URL": url})
