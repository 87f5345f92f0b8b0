"""Every error of ours, named by what a caller can do about it; HTTP statuses are unknown here."""

from typing import Any, ClassVar


class ServiceError(Exception):
    """A problem to be told to the caller.

    `slug` is stable for ever; the text is for people; `facts` are for programs.
    """

    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, detail: str, **extra: Any) -> None:  # noqa: ANN401 - any JSON value
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class NotFound(ServiceError):
    slug = "not-found"
    title = "No such thing, or not yours"


class Conflict(ServiceError):
    slug = "conflict"
    title = "Conflict with the current state"


class DatasetNotReady(Conflict):
    slug = "dataset-not-ready"
    title = "The dataset cannot be used yet"


class ResourceInUse(Conflict):
    slug = "in-use"
    title = "Something else depends on it"


class InvalidSpec(ServiceError):
    """Well formed, but it cannot be built. `errors` are (JSON pointer, detail) pairs."""

    slug = "invalid-spec"
    title = "The request cannot be carried out as asked"

    def __init__(self, detail: str, *, errors: list[tuple[str, str]] | None = None, **extra: Any) -> None:  # noqa: ANN401
        super().__init__(detail, **extra)
        self.errors = errors or []


class IdempotencyMismatch(InvalidSpec):
    slug = "idempotency-mismatch"
    title = "The same Idempotency-Key came with another body"


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
    title = "An API key is needed"


class TooManyRequests(ServiceError):
    """A client asks for more than its share."""

    slug = "too-many-requests"
    title = "Too many requests"


class NotReady(ServiceError):
    slug = "not-ready"
    title = "Not ready yet"


class Overloaded(ServiceError):
    slug = "overloaded"
    title = "Too much is waiting"


class Unavailable(ServiceError):
    """Something the service stands on, such as the database, does not answer just now."""

    slug = "unavailable"
    title = "Not available just now"


class DeadlineExceeded(Unavailable):
    """The caller waits no longer; what was not begun is not computed."""

    slug = "deadline-exceeded"
    title = "The request's own time is up"


class StorageFull(ServiceError):
    slug = "storage-full"
    title = "No space is left"


class PredictionFailed(ServiceError):
    slug = "prediction-failed"
    title = "The network could not answer"


class CorruptFile(ServiceError):
    """A stored file is missing or damaged."""

    slug = "corrupt"
    title = "A stored file is damaged"


class LostLease(Exception):
    """The attempt was fenced: another one holds the job, or it is over. Nothing it writes counts."""


class ConfigurationError(Exception):
    """The service cannot start as configured; one clear line says why."""
