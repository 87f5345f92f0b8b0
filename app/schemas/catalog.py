"""The response body of the catalog."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EntryOut(BaseModel):
    """A component, to which specs refer by its name."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="The name of the component in a spec.", examples=["early_stopping"])
    summary: str = Field(description="A description of the component in one sentence.")
    source: str | None = Field(description="The source: a paper, a library, or a dataset's website and license.")
    options: dict[str, Any] = Field(description="JSON Schema of the options, which a spec contains next to `name`.")


class CatalogOut(BaseModel):
    """All components that a spec may use."""

    architectures: list[EntryOut] = Field(description="Networks, for `architecture`.")
    optimizers: list[EntryOut] = Field(description="Optimizers, for `optimizer`.")
    schedules: list[EntryOut] = Field(description="Learning-rate schedules, for `schedule`.")
    losses: list[EntryOut] = Field(description="Loss functions, for `loss`.")
    metrics: list[EntryOut] = Field(description="Metrics, for `metrics`.")
    transforms: list[EntryOut] = Field(description="Transforms, for `train_transforms` of a dataset.")
    callbacks: list[EntryOut] = Field(description="Callbacks, for `callbacks`.")
    datasets: list[EntryOut] = Field(description="Built-in datasets, for `dataset`.")
