"""Loading the settings of a process."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.settings import Settings
from core.settings_variables import RENAMED_VARIABLES, SYNONYMS
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


@pytest.mark.parametrize(
    ("variable", "similar"),
    [
        ("CANDELA_SLOT", "CANDELA_SLOTS"),
        ("CANDELA_DATABASE_ULR", "CANDELA_DATABASE_URL"),
        ("candela_max_uplaod_bytes", "CANDELA_MAX_UPLOAD_BYTES"),
        ("CANDELA_DB_URL", "CANDELA_DATABASE_URL"),
        ("CANDELA_BROKER_URL", "CANDELA_REDIS_URL"),
        ("CANDELA_DATA_DIR", "CANDELA_HOME"),
        ("CANDELA_WORKERS", "CANDELA_SLOTS"),
    ],
)
def test_an_unknown_variable_is_one_warning_with_the_nearest_name(
    variable: str, similar: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("core.startup._warnings", set())
    monkeypatch.setenv(variable, "1")
    for _ in range(2):  # a process may load its settings several times
        load_settings_or_exit()
    assert capsys.readouterr().err == (
        f"candela warning: {variable.upper()} is not a setting and has no effect; did you mean {similar}?\n"
    )


def test_a_variable_that_is_like_no_setting_has_no_suggestion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("core.startup._warnings", set())
    monkeypatch.setenv("CANDELA_XQZW", "1")
    load_settings_or_exit()
    assert capsys.readouterr().err.endswith("has no effect; docs/reference/settings.md lists all settings\n")


def test_an_unknown_variable_in_the_env_file_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("core.startup._warnings", set())
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("CANDELA_SLOTZ=3\nOTHER=1\n")
    load_settings_or_exit()
    assert "did you mean CANDELA_SLOTS?" in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["CANDELA_URL", "CANDELA_API_KEY", "CANDELA_MINE", "candela_slots", "SLOT"])
def test_variables_of_the_client_and_of_child_processes_are_no_warning(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CANDELA_CHILD_VARIABLES", "CANDELA_MINE")
    monkeypatch.setenv(variable, "2")
    load_settings_or_exit()
    assert "CANDELA" not in capsys.readouterr().err


def test_the_synonyms_of_settings_are_no_settings() -> None:
    assert SYNONYMS.keys() <= Settings.model_fields.keys()
    words = [word for others in SYNONYMS.values() for word in others.split()]
    assert len(words) == len(set(words))
    assert not {word.lower() for word in words} & Settings.model_fields.keys()
