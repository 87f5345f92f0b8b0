"""Headers of requests with the tus protocol."""

import base64
from collections.abc import Mapping

TUS = {"Tus-Resumable": "1.0.0"}
CHUNK = TUS | {"Content-Type": "application/offset+octet-stream"}


def encode_metadata(values: Mapping[str, str] | None = None, /, **others: str) -> str:
    """Return the value of `Upload-Metadata`."""
    return ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in {**(values or {}), **others}.items()
    )
