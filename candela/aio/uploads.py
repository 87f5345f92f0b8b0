"""Lists and deletes resumable uploads."""

from candela.aio.pagination import list_items
from candela.aio.transport import AsyncTransport
from candela.synonyms import SuggestsNames
from candela.types import UploadResponse


class AsyncUploads(SuggestsNames):
    """The resumable uploads of an API key, available as `client.uploads`. `client.datasets.add` creates them."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> list[UploadResponse]:
        """Return the uploads that have not expired, newest first."""
        return await list_items(self._transport, "/v1/uploads")

    async def get(self, upload_id: str) -> UploadResponse:
        response: UploadResponse = await self._transport.request_json("GET", f"/v1/uploads/{upload_id}")
        return response

    async def delete(self, upload_id: str) -> None:
        """Delete an upload and its bytes. A dataset version that was created from it remains."""
        await self._transport.request("DELETE", f"/v1/uploads/{upload_id}")
