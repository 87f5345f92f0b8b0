"""Loading the settings of a process."""

import pytest

from core.errors import ConfigurationError
from core.settings import RENAMED_VARIABLES, Settings
from core.startup import exit_on_configuration_error, load_settings_or_exit


@pytest.mark.parametrize(("old", "new"), RENAMED_VARIABLES.items())
def test_old_variable_name_stops_the_start_with_the_new_name(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(old, "1")
    with pytest.raises(SystemExit) as exit_error:
        load_settings_or_exit()
    assert exit_error.value.code == 1
    assert capsys.readouterr().err == f"candela: {old} was renamed: set {new} instead\n"


@pytest.mark.parametrize("new", RENAMED_VARIABLES.values())
def test_new_variable_name_is_a_setting(new: str) -> None:
    assert new.removeprefix("CANDELA_").lower() in Settings.model_fields


def test_invalid_value_stops_the_start_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CANDELA_PORT", "70000")
    with pytest.raises(SystemExit):
        load_settings_or_exit()
    assert capsys.readouterr().err.startswith("candela: CANDELA_PORT='70000': ")


def test_a_message_is_one_line_without_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), exit_on_configuration_error():
        raise ConfigurationError("the database\npostgresql://user:hidden@db/candela is gone")
    assert capsys.readouterr().err == "candela: the database postgresql://user:***@db/candela is gone\n"
