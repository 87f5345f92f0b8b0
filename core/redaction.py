"""Removes credentials from texts that are written to logs and terminals."""

import re

# The user part is kept. The password ends at the last @ of the word, because an unquoted password may contain @ or /.
# "password" itself is the placeholder in examples.
_URL_PASSWORD = re.compile(r"(://[^\s:/@\"']*):(?!password@)[^\s\"']*@")
_NAMED_SECRET = re.compile(
    r"((?:password|passwd|pwd|passphrase|secret_access_key|session_token|api_keys?)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;}]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(bearer\s+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE)


def redact_credentials(text: str) -> str:
    """Replace passwords in URLs, named secrets such as `password=…` and bearer tokens with `***`."""
    text = _URL_PASSWORD.sub(r"\1:***@", text)
    text = _NAMED_SECRET.sub(r"\1***", text)
    return _BEARER.sub(r"\1***", text)
