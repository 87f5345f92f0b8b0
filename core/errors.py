"""The errors of the service. HTTP status codes are assigned in `app/problems`."""

from typing import Any, ClassVar


class ServiceError(Exception):
    """An error that is returned to the client.

    `slug` is the stable problem type, `detail` is the message, and `extra` holds extension members for programs.
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


class ResourceInUse(Conflict):
    slug = "in-use"
    title = "The resource is in use"


class InvalidSpec(ServiceError):
    """The request is valid JSON but cannot be executed. `errors` are (JSON pointer, detail) pairs."""

    slug = "invalid-spec"
    title = "The request is invalid"

    def __init__(self, detail: str, *, errors: list[tuple[str, str]] | None = None, **extra: Any) -> None:  # noqa: ANN401
        super().__init__(detail, **extra)
        self.errors = errors or []


class IdempotencyMismatch(InvalidSpec):
    slug = "idempotency-mismatch"
    title = "The Idempotency-Key was used with another body"


class InvalidArchive(InvalidSpec):
    """An upload that is not an archive, or whose entries are unsafe or too many. `code` is an `archive_…` code."""

    slug = "invalid-archive"
    title = "The archive is invalid"


class InvalidTable(InvalidArchive):
    """An uploaded table that cannot be read with its options. `code` is a `table_…` code."""

    slug = "invalid-table"
    title = "The table is invalid"


class InvalidRow(InvalidSpec):
    """A row whose values do not match the columns of a model."""

    slug = "invalid-row"
    title = "The row is invalid"


class InvalidImage(ServiceError):
    """A file that is not an image, or a damaged or truncated image."""

    slug = "invalid-picture"
    title = "The image cannot be read"


class UnsupportedImage(ServiceError):
    """An image in a format other than JPEG, PNG and WEBP."""

    slug = "unsupported-picture"
    title = "The image format is not supported"


class TooLarge(ServiceError):
    slug = "too-large"
    title = "The request is larger than allowed"


class Unauthorized(ServiceError):
    slug = "unauthorized"
    title = "A valid API key is required"


class TooManyRequests(ServiceError):
    """A client exceeds its rate limit."""

    slug = "too-many-requests"
    title = "Too many requests"


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
    """The deadline of the request passed before it was computed."""

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
    """The attempt no longer holds the lease of its job; its writes are rejected."""


class ConfigurationError(Exception):
    """The configuration is invalid and the process cannot start; the message is a single line."""
