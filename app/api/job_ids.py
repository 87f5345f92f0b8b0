"""The ids of jobs in parameters. A job with a shorter id than those that the service assigns does not exist."""

from typing import Annotated

from pydantic import Field

JOB_ID_PATTERN = r"^[0-9a-f]{1,32}$"
"""An id, or its first digits."""
JobIdText = Annotated[str, Field(pattern=JOB_ID_PATTERN)]
