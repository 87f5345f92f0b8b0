"""The catalogue as clients see it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EntryOut(BaseModel):
    """One thing to choose by its name."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    summary: str
    source: str | None = Field(description="Where it comes from: a paper, a library, a data set's home and licence.")
    options: dict[str, Any] = Field(description="JSON Schema of the options that may stand beside `name`.")


class CatalogOut(BaseModel):
    """Everything that a spec may name."""

    architectures: list[EntryOut]
    optimizers: list[EntryOut]
    schedules: list[EntryOut]
    losses: list[EntryOut]
    metrics: list[EntryOut]
    transforms: list[EntryOut]
    callbacks: list[EntryOut]
    datasets: list[EntryOut]
