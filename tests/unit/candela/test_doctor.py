"""The doctor's check of the engine: the workshop's figures."""

import os
import shutil
from pathlib import Path

import pytest

from candela import doctor
from candela.errors import CandelaError
from core.errors import ConfigurationError
from tests.support.damage import DAMAGES, Damage

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
