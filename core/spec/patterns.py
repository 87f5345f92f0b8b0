"""Describes the regular expressions of fields and parameters in words, for error messages."""

from core.spec.base import ENTRY_NAME_PATTERN, NAME_PATTERN

_NAME = "1 to 63 lower-case letters, digits, dots, underscores or hyphens, of which the first is a letter or digit"
DESCRIPTIONS: dict[str, str] = {
    NAME_PATTERN: _NAME,
    ENTRY_NAME_PATTERN: _NAME.replace("lower-case ", ""),
    r"^[a-z0-9][a-z0-9._-]{0,62}(@[a-z0-9][a-z0-9._-]{0,62})?$": "a model: 'name', 'name@3' or 'name@alias', in "
    "lower-case letters, digits, dots, underscores and hyphens",
    r"^[a-z0-9][a-z0-9._-]{0,62}(@[1-9][0-9]{0,8})?$": "a dataset: 'name' or 'name@3', in lower-case letters, digits, "
    "dots, underscores and hyphens",
    r"^(file:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\.safetensors|pretrained)$": "'pretrained' or 'file:<name>.safetensors'",
    r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$": "'auto', 'cpu', 'mps', 'cuda' or 'cuda:<index>'",
    r"^(auto|fp32|bf16)$": "'auto', 'fp32' or 'bf16'",
    r"^(train|valid|test)$": "'train', 'valid' or 'test'",
    r"^(train|valid|test|usage)$": "'train', 'valid', 'test' or 'usage'",
    r"^(train|valid|test|usage)/[a-z0-9][a-z0-9._-]{0,62}$": "a split and a metric, such as 'valid/loss'",
    r"^[!-~]{1,255}$": "1 to 255 printable ASCII characters without spaces",
    r"^[0-9a-f]{1,32}$": "1 to 32 hexadecimal digits in lower case",
    r"^[0-9a-f]{32}$": "an id of 32 hexadecimal digits in lower case",
    r"^[0-9a-f]{64}$": "a sha256 as 64 hexadecimal digits in lower case",
    r"^[A-Za-z0-9][A-Za-z0-9._:/=+-]{0,62}$": "1 to 63 letters, digits or any of . _ : / = + - of which the first is a "
    "letter or digit",
    r"^(/([^/~]|~[01])*)+$": "a JSON pointer such as '/optimizer/lr'",
    r"^[A-Za-z0-9_-]*$": "the id of an event: letters, digits, underscores and hyphens",
}
"""What a text must be that a regular expression matches. A contract test compares the keys with the API."""


def describe_pattern(pattern: str) -> str:
    """Return what a text must be that matches a regular expression."""
    return DESCRIPTIONS.get(pattern, "a text of another form")
