"""Bodies of `/v1/session`."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

MAX_KEY_LENGTH = 1000


class SessionIn(BaseModel):
    """The credentials that open a session."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"key": "3f1c…"}})

    key: Annotated[SecretStr, Field(min_length=1, max_length=MAX_KEY_LENGTH, description="An API key.")]


class SessionOut(BaseModel):
    """How a request is authenticated, and until when."""

    authentication: Literal["session", "key", "none"] = Field(
        description="`session`: by the cookie of a session. `key`: by the API key in `Authorization`. `none`: the "
        "service has no API keys, and requests need none."
    )
    key_id: str | None = Field(
        description="The first 8 hexadecimal digits of the SHA-256 of the API key, which opened the session; null "
        "without API keys.",
        examples=["9f86d081"],
    )
    created_at: datetime | None = Field(description="When the session was opened, in UTC; null without a session.")
    expires_at: datetime | None = Field(
        description="When the session ends in any case, in UTC; null without a session."
    )
    idle_expires_at: datetime | None = Field(
        description="When the session ends if it is not used, in UTC; null without a session. A request prolongs it, "
        "but not an open event stream."
    )
