"""What else a model says of pictures, as clients see it."""

from pydantic import BaseModel, Field

from app.schemas.predictions import ImageFailedOut


class VersionRefOut(BaseModel):
    """The version that answered, whatever alias was asked."""

    name: str
    version: int


class EmbeddingOut(BaseModel):
    """What the last layer sees of a picture."""

    vector: list[float]


class EmbeddingsOut(BaseModel):
    """One vector a picture, in the order they were sent."""

    model: VersionRefOut
    embeddings: list[EmbeddingOut | ImageFailedOut]


class ExplanationOut(BaseModel):
    """Where in a picture a network found what speaks for a class: Grad-CAM of its last feature maps."""

    model: VersionRefOut
    label: str
    index: int = Field(description="From 0, as in the model's `classes`.")
    probability: float | None = Field(description="From 0 to 1; null of a regression.")
    heat: list[list[float]] = Field(description="Rows of the picture as the network saw it; 0 to 1, the hottest is 1.")
