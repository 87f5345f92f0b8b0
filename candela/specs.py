"""Reads job specs from YAML and JSON files."""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from candela.errors import CandelaError, UnusableFile

JSON_TYPES: dict[type, str] = {  # bool is before its base class int
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    object: "an object",
}


class _Loader(yaml.SafeLoader):
    """A loader that reads `1e-3` as a number and `2026-11-23` as a string, as YAML 1.2 does."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own interface
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_spec(path: Path) -> dict[str, Any]:
    """Return the spec in a file, or from standard input if the path is `-`.

    Raises:
        CandelaError: the file does not exist, or does not contain an object.
    """
    spec = read_document(path)
    if not isinstance(spec, dict):
        raise CandelaError(f'{path} must contain an object, such as {{"name": …}}; got {describe_type(spec)}')
    return spec


def read_document(path: Path) -> Any:  # noqa: ANN401 - any YAML value
    """Return the value in a YAML or JSON file, or from standard input if the path is `-`.

    Raises:
        CandelaError: the file cannot be read, or is not valid YAML.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnusableFile(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnusableFile(f"{path} is not UTF-8 text: {error.reason}") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:  # noqa: ANN401 - any YAML value
    """Return the value of a YAML text. `source` names the text in the error message.

    Raises:
        CandelaError: the text is not valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader # nosec B506
    except yaml.YAMLError as error:
        raise CandelaError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error


def describe_type(value: object) -> str:
    """Return the JSON type of a value, for messages."""
    return next(name for cls, name in JSON_TYPES.items() if isinstance(value, cls))
