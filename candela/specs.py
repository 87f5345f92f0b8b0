"""Job specs from files: YAML or JSON, read as people mean them."""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from candela.errors import CandelaError


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-3` is a number and `2026-11-23` is not a date: PyYAML follows YAML 1.1, people 1.2."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own interface
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_spec(path: Path) -> dict[str, Any]:
    """The spec in a file, or on standard input where the path is `-`.

    Raises:
        CandelaError: there is no such file, or it is no YAML mapping.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        spec = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader, see above
    except OSError as error:
        raise CandelaError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CandelaError(f"{path} is no text: {error.reason}") from error
    except yaml.YAMLError as error:
        raise CandelaError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(spec, dict):
        raise CandelaError(f"{path} holds no job: expected fields such as `dataset` and `architecture`")
    return spec
