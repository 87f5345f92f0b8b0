"""The processes of the embedded service and their settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from candela import components as embedded
from candela.components import UpOptions
from candela.home import Home
from tests.support.process_environment import CREDENTIALS, find_credentials


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    home.acquire()
    yield home
    home.release()


@pytest.mark.parametrize(
    ("option", "environ", "count"),
    [(None, {}, 1), (1, {"CANDELA_HTTP_PROCESSES": "3"}, 1), (3, {}, 3), (None, {"CANDELA_HTTP_PROCESSES": "2"}, 2)],
)
def test_http_option_starts_several_api_processes(
    home: Home, option: int | None, environ: dict[str, str], count: int
) -> None:
    told = embedded.build_settings(UpOptions(home.path, http=option), environ, home, 8000, None)
    parts = embedded.create_services(home, told, 7, 8)
    apis = [part for part in parts if part.name.startswith("api")]
    assert [part.name for part in apis] == ["api", "api-2", "api-3"][:count]
    assert len({part.log for part in apis}) == count
    assert all(7 in part.pass_fds for part in apis)
    assert ("CANDELA_RENDEZVOUS_DIR" in told) is (count > 1)
    assert ("PROMETHEUS_MULTIPROC_DIR" in told) is (count > 1)


def test_only_the_api_gets_the_api_keys(home: Home) -> None:
    environment = embedded.build_settings(UpOptions(home.path), CREDENTIALS, home, 8000, None)
    parts = [
        embedded.create_broker(home, environment, home.run / "valkey.sock", None),
        embedded.create_migration(home, environment, 8),
        *embedded.create_services(home, environment, 7, 8),
    ]
    names = {part.name for part in parts if "hidden-1" in part.environment.values()}
    assert names == {"api"}


def test_the_broker_gets_no_credentials(home: Home) -> None:
    environment = embedded.build_settings(UpOptions(home.path), CREDENTIALS, home, 8000, None)
    broker = embedded.create_broker(home, environment, home.run / "valkey.sock", None)
    assert find_credentials(dict(broker.environment)) == []


def test_no_command_line_contains_a_credential(home: Home) -> None:
    environment = embedded.build_settings(UpOptions(home.path), CREDENTIALS, home, 8000, None)
    parts = [embedded.create_migration(home, environment, 8), *embedded.create_services(home, environment, 7, 8)]
    assert not [word for part in parts for word in part.command if "hidden-" in word]
