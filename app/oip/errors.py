"""What an inference request is refused with: one sentence that names the tensor."""

from core.errors import ServiceError


class InvalidInferRequest(ServiceError):
    """The request is not of the protocol, or not one that this model can answer. It is a 400."""

    slug = "invalid-inference-request"
    title = "The inference request cannot be answered"


class NotSupported(ServiceError):
    """The protocol knows it, this server does not. It is a 501."""

    slug = "not-supported"
    title = "Not supported"
