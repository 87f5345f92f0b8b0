"""Builds requests without a server, and models without files."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import Message, Scope

from app.services.prediction.version_cache import ServedModel
from core.datasets.columns import Column, Table
from tests.support.served_models import build_served_model

COLUMNS = (Column(name="size"), Column(name="island", categories=("Biscoe", "Dream")), Column(name="weight"))
TABLES = (
    Table(columns=COLUMNS, targets=("sex",)),
    Table(columns=COLUMNS, targets=("sex",), missing="impute"),
    Table(columns=(COLUMNS[0], COLUMNS[2]), targets=("size",), window=2),
)
IMAGE_SHAPES = ((1, 2, 2), (3, 2, 3))


def build_models() -> list[ServedModel]:
    """Return models of grey and color images, of rows with and without missing values, and of windows."""
    images = [build_served_model(image_shape=shape) for shape in IMAGE_SHAPES]
    return images + [build_served_model("regression", table=table, num_outputs=1) for table in TABLES]


def build_request(path: str, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> Request:
    """Return a request whose body arrives in two messages if it is long."""
    fields = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
    scope: Scope = {
        "type": "http",
        "app": None,  # Starlette converts errors of forms only inside of an application
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()],
    }
    middle = len(body) // 2 if len(body) > 2 else len(body)
    messages: list[Message] = [{"type": "http.request", "body": body[:middle], "more_body": middle < len(body)}]
    if middle < len(body):
        messages.append({"type": "http.request", "body": body[middle:], "more_body": False})

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return Request(scope, receive)
