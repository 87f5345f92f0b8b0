"""Defines the errors of the service. `app/problems` assigns an HTTP status code to each of them."""

from typing import Any, ClassVar

IMAGE_TOO_LARGE = "image_too_large"
"""The code of an error for an image that exceeds a limit of pixels or bytes."""


class ServiceError(Exception):
    """An error that is returned to the client.

    Attributes:
        slug: the stable identifier of the problem type.
        title: a short description of the problem type.
        detail: the message of this error.
        extra: additional fields of the error response.
    """

    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, **extra: Any) -> None:  # noqa: ANN401 - any JSON value
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class NotFound(ServiceError):
    slug = "not-found"
    title = "Resource not found"


class Conflict(ServiceError):
    slug = "conflict"
    title = "Conflict with the current state"


class DatasetNotReady(Conflict):
    slug = "dataset-not-ready"
    title = "The dataset is not ready"


class OffsetMismatch(Conflict):
    """A chunk of an upload does not start where the received bytes end; `extra["offset"]` is their number."""

    slug = "offset-mismatch"
    title = "The offset is not the number of received bytes"


class UploadLocked(ServiceError):
    """Another request sends bytes of the upload, or its inspection is running."""

    slug = "upload-locked"
    title = "The upload is in use"


class UploadGone(ServiceError):
    """The received file was rejected, so that the upload cannot continue."""

    slug = "upload-gone"
    title = "The upload failed"


class ChecksumMismatch(ServiceError):
    """A received chunk has another checksum than the client sent."""

    slug = "checksum-mismatch"
    title = "The checksum of the chunk is wrong"


class UnsupportedVersion(ServiceError):
    """The client uses a version of a protocol that the service does not support."""

    slug = "unsupported-version"
    title = "The protocol version is not supported"


class ResourceInUse(Conflict):
    slug = "in-use"
    title = "The resource is in use"


class InvalidSpec(ServiceError):
    """The request is valid JSON but has invalid values. `errors` lists (JSON pointer, message) pairs."""

    slug = "invalid-spec"
    title = "The request is invalid"

    def __init__(self, detail: str, *, errors: list[tuple[str, str]] | None = None, **extra: Any) -> None:  # noqa: ANN401
        super().__init__(detail, **extra)
        self.errors = errors or []


class IdempotencyMismatch(InvalidSpec):
    slug = "idempotency-mismatch"
    title = "The Idempotency-Key was used with another body"


class InvalidArchive(InvalidSpec):
    """The upload is not an archive, or its entries are invalid, unsafe or too many. `extra["code"]` is the reason."""

    slug = "invalid-archive"
    title = "The archive is invalid"


class InvalidTable(InvalidArchive):
    """The uploaded table cannot be read with its import options. `extra["code"]` is the reason."""

    slug = "invalid-table"
    title = "The table is invalid"


class InvalidRow(InvalidSpec):
    """The values of a row do not match the columns of the model."""

    slug = "invalid-row"
    title = "The row is invalid"


class InvalidImage(ServiceError):
    """The file is not an image, or the image is damaged or truncated."""

    slug = "invalid-picture"
    title = "The image cannot be read"


class UnsupportedImage(ServiceError):
    """The format of the image, or a feature of it, is not supported."""

    slug = "unsupported-picture"
    title = "The image format is not supported"


class TooLarge(ServiceError):
    slug = "too-large"
    title = "The request is larger than allowed"


def get_sample_error_code(error: ServiceError) -> str:
    """Return the code of an error that replaces the prediction of one of several samples.

    The code is the slug of the problem. For an image that exceeds a limit, it is the limit's code, as in import
    reports: `image_too_large` or `image_too_complex`.
    """
    return str(error.extra.get("code", error.slug)) if isinstance(error, TooLarge) else error.slug


class Unauthorized(ServiceError):
    slug = "unauthorized"
    title = "A valid API key is required"


class HostNotAllowed(ServiceError):
    """The `Host` of the request is not a name of this service."""

    slug = "host-not-allowed"
    title = "The host is not allowed"


class CrossOrigin(ServiceError):
    """A web page of another origin sent a request that can change something."""

    slug = "cross-origin"
    title = "Requests from other origins are not allowed"


class TooManyRequests(ServiceError):
    """The client exceeds its rate limit."""

    slug = "too-many-requests"
    title = "Too many requests"


class TooManyUploads(TooManyRequests):
    """The client has too many open uploads, or their sizes exceed a limit."""

    slug = "too-many-uploads"
    title = "Too many open uploads"


class NotReady(ServiceError):
    slug = "not-ready"
    title = "The service is not ready"


class Overloaded(ServiceError):
    slug = "overloaded"
    title = "The server is overloaded"


class Unavailable(ServiceError):
    """A dependency such as the database is temporarily unavailable."""

    slug = "unavailable"
    title = "Temporarily unavailable"


class DeadlineExceeded(Unavailable):
    """The deadline of the request passed before its result was computed."""

    slug = "deadline-exceeded"
    title = "The deadline of the request passed"


class StorageFull(ServiceError):
    slug = "storage-full"
    title = "The storage is full"


class PredictionFailed(ServiceError):
    slug = "prediction-failed"
    title = "The prediction failed"


class CorruptFile(ServiceError):
    """A stored file is missing or damaged."""

    slug = "corrupt"
    title = "A stored file is damaged"


class LostLease(Exception):
    """The attempt or import no longer holds its lease, so its writes are rejected."""


class ConfigurationError(Exception):
    """The configuration is invalid, so the process cannot start. The message is a single line."""


class DatabaseUnreachable(ConfigurationError):
    """The database does not accept connections at the start. It may become available later."""
