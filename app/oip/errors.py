"""Errors of the Open Inference Protocol."""

from core.errors import ServiceError


class InvalidInferRequest(ServiceError):
    """The request violates the protocol or does not match the model's inputs (status 400)."""

    slug = "invalid-inference-request"
    title = "Invalid inference request"


class NotSupported(ServiceError):
    """The server does not implement this part of the protocol (status 501)."""

    slug = "not-supported"
    title = "Not supported"
