"""Response bodies of the endpoints for embeddings and explanations."""

from pydantic import BaseModel, Field

from app.schemas.predictions import ImageFailedOut


class VersionRefOut(BaseModel):
    """The model version that was used, even if the request named an alias."""

    name: str = Field(description="The name of the model.")
    version: int = Field(description="The number of the version.")


class EmbeddingOut(BaseModel):
    """The embedding of an image: the input of the network's last layer."""

    vector: list[float] = Field(description="The values of the embedding.")


class EmbeddingsOut(BaseModel):
    """The embeddings of the images of a request."""

    model: VersionRefOut = Field(description="The model version that was used.")
    embeddings: list[EmbeddingOut | ImageFailedOut] = Field(description="One item per image, in the request's order.")


class ExplanationOut(BaseModel):
    """The regions of an image that support a class: Grad-CAM of the last feature maps."""

    model: VersionRefOut = Field(description="The model version that was used.")
    label: str = Field(description="The explained class.")
    index: int = Field(description="The index of the class in the model's `classes`, from 0.")
    probability: float | None = Field(description="The probability of the class, from 0 to 1; null for a regression.")
    heat: list[list[float]] = Field(
        description="The heatmap as rows of values from 0 to 1, at the network's input size."
    )
