"""Removes credentials from messages. It repeats `core.redaction`, because the SDK is installed without `core`."""

import re

_URL_PASSWORD = re.compile(r"(://[^\s:/@\"']*):(?!password@)[^\s\"']*@")
_NAMED_SECRET = re.compile(
    r"((?:password|passwd|pwd|passphrase|secret_access_key|session_token|api_keys?)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;}]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(bearer\s+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE)


def redact_credentials(text: str) -> str:
    """Replace passwords in URLs, named secrets such as `password=…` and bearer tokens with `***`."""
    for pattern, replacement in ((_URL_PASSWORD, r"\1:***@"), (_NAMED_SECRET, r"\1***"), (_BEARER, r"\1***")):
        text = pattern.sub(replacement, text)
    return text
