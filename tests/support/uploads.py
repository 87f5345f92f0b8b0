"""Headers of requests with the tus protocol."""

import base64

TUS = {"Tus-Resumable": "1.0.0"}
CHUNK = TUS | {"Content-Type": "application/offset+octet-stream"}


def encode_metadata(**values: str) -> str:
    """Return the value of `Upload-Metadata`."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())
