"""Every regular expression of the API has a description, which error messages contain instead of it."""

import json
import re
from collections.abc import Iterator
from typing import Any

from app.main import create_app
from core.settings import Settings
from core.spec.patterns import DESCRIPTIONS, describe_pattern
from core.sweeps.spec import SweepSpec

OWN_MESSAGES = ("x([1-9][0-9]{0,2}", "#[0-9a-fA-F]{6}")  # the size and the color of images, which code checks


def list_patterns(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        yield from node.get("patternProperties", ())
        for child in node.values():
            yield from list_patterns(child)
    elif isinstance(node, list):
        for child in node:
            yield from list_patterns(child)


def test_every_pattern_of_the_api_is_described() -> None:
    document = [json.loads(json.dumps(create_app(Settings()).openapi())), SweepSpec.model_json_schema()]
    patterns = {each for each in list_patterns(document) if not any(part in each for part in OWN_MESSAGES)}
    assert patterns
    assert patterns <= set(DESCRIPTIONS)
    assert set(DESCRIPTIONS) <= patterns, "remove descriptions of patterns that the API does not have"


def test_a_description_has_no_regular_expression() -> None:
    for description in DESCRIPTIONS.values():
        assert not re.search(r"\^|\$|\[|\\|\{\d", description), description
    assert "^" not in describe_pattern("^unknown$")
