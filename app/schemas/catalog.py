"""The response body of the catalog endpoint."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EntryOut(BaseModel):
    """A component of the catalog. A spec refers to the component by its name."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="The name of the component in a spec.", examples=["early_stopping"])
    summary: str = Field(description="A description of the component in one sentence.")
    source: str | None = Field(
        description="The source: a paper, a library, or a dataset's website and license; null if there is none."
    )
    options: dict[str, Any] = Field(
        description="JSON Schema of the component's options. A spec contains the options next to `name`."
    )


class CatalogOut(BaseModel):
    """All components that a job spec may use."""

    architectures: list[EntryOut] = Field(description="Network architectures, for the field `architecture` of a spec.")
    optimizers: list[EntryOut] = Field(description="Optimizers, for the field `optimizer`.")
    schedules: list[EntryOut] = Field(description="Learning-rate schedules, for the field `schedule`.")
    losses: list[EntryOut] = Field(description="Loss functions, for the field `loss`.")
    metrics: list[EntryOut] = Field(description="Metrics, for the field `metrics`.")
    transforms: list[EntryOut] = Field(description="Image transforms, for the field `train_transforms` of `dataset`.")
    callbacks: list[EntryOut] = Field(description="Callbacks, for the field `callbacks`.")
    datasets: list[EntryOut] = Field(description="Built-in datasets, for the field `dataset`.")
