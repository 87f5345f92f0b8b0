# Generated from candela/aio/uploads.py by `make sdk`. Edit that file.
"""Lists and deletes resumable uploads."""

from candela.pagination import list_items
from candela.synonyms import SuggestsNames
from candela.transport import Transport
from candela.types import UploadResponse


class Uploads(SuggestsNames):
    """The resumable uploads of an API key, available as `client.uploads`. `client.datasets.add` creates them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> list[UploadResponse]:
        """Return the uploads that have not expired, newest first."""
        return list_items(self._transport, "/v1/uploads")

    def get(self, upload_id: str) -> UploadResponse:
        response: UploadResponse = self._transport.request_json("GET", f"/v1/uploads/{upload_id}")
        return response

    def delete(self, upload_id: str) -> None:
        """Delete an upload and its bytes. A dataset version that was created from it remains."""
        self._transport.request("DELETE", f"/v1/uploads/{upload_id}")
