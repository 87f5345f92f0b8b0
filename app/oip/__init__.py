"""The Open Inference Protocol, version 2: a sub-application under `/v2` with the protocol's error format."""

from app.oip.app import mount

__all__ = ["mount"]
