"""Response bodies of the samples of a dataset version."""

from pydantic import BaseModel, ConfigDict, Field


class SampleOut(BaseModel):
    """A sample of a dataset version."""

    model_config = ConfigDict(from_attributes=True)

    split: str = Field(description="The split of the sample: `train`, `valid` or `test`.", examples=["train"])
    index: int = Field(description="The index of the sample in its split, from 0.")
    name: str = Field(
        description="The name of the image file, or the number of the row; of a window, the first row that it predicts."
    )
    labels: list[str] = Field(
        description="The class of the sample, or all classes if it can have several. Empty for a regression.",
        examples=[["cat"]],
    )
    targets: list[float] | None = Field(description="The target values of a regression; null for classes.")
    weight: float | None = Field(description="The weight of the sample; null if the dataset has no weights.")
    rows: list[dict[str, float | str | None]] | None = Field(
        description="The values of a table sample, keyed by column: one row, or all rows of a window. A missing value "
        "is null. Null for an image."
    )
