"""The Open Inference Protocol, version 2: an application of its own under `/v2`, with errors of its own form."""

from app.oip.app import mount

__all__ = ["mount"]
