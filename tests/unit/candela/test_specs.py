"""Reading job specs from files."""

from pathlib import Path

import pytest

from candela.errors import CandelaError
from candela.specs import read_spec


def test_yaml_numbers_and_strings_follow_yaml_1_2(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("name: 2026-11-23\noptimizer: {name: adam, lr: 1e-3, eps: 1.5E-8}\nepochs: 3\nbatch_norm: true\n")
    assert read_spec(file) == {
        "name": "2026-11-23",
        "optimizer": {"name": "adam", "lr": 0.001, "eps": 1.5e-8},
        "epochs": 3,
        "batch_norm": True,
    }


def test_json_specs_are_read(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text('{"dataset": {"name": "digits"}, "optimizer": {"lr": 1e-3}}')
    assert read_spec(file) == {"dataset": {"name": "digits"}, "optimizer": {"lr": 0.001}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: [1", "is not valid YAML"),
        (b"- 1", r'must contain an object, such as \{"name": …\}; got an array$'),
        (b"digits", "got a string$"),
        (b"1e-3", "got a number$"),
        (b"true", "got a boolean$"),
        (b"", "got null$"),
        (b"\xff\xfe\x00", "is no"),
    ],
)
def test_invalid_file_is_reported_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(content)
    with pytest.raises(CandelaError, match=reason) as caught:
        read_spec(file)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(CandelaError, match=r"nowhere\.yaml: No such file"):
        read_spec(tmp_path / "nowhere.yaml")
