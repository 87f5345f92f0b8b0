"""A multilayer perceptron for tables with learned embeddings of categories."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from models.mlp import MlpOptions, Width, build_mlp
from models.registry import Architecture, Shape


class TabularOptions(MlpOptions):
    hidden: Annotated[tuple[Width, ...], Field(strict=False, max_length=64)] = (64, 32)
    """Number of units of each hidden layer; an empty array gives a linear model."""
    embedding_dim: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Length of the embeddings. Default: half the number of categories of the column, rounded up, at most 50."""


class Tabular(nn.Module):
    """Fully connected layers over numeric columns and embeddings of categorical columns."""

    def __init__(self, options: TabularOptions, cardinalities: Shape, num_outputs: int) -> None:
        """Initialize from the number of categories of each column; 0 for numeric columns."""
        super().__init__()
        self._numbers = [place for place, count in enumerate(cardinalities) if not count]
        self._categories = [place for place, count in enumerate(cardinalities) if count]
        counts = [cardinalities[place] for place in self._categories]
        dims = [options.embedding_dim or min(50, (count + 1) // 2) for count in counts]
        self.embeddings = nn.ModuleList(_create_embedding(count, dim) for count, dim in zip(counts, dims, strict=True))
        self.layers = build_mlp(options, (len(self._numbers) + sum(dims),), num_outputs)

    def forward(self, rows: Tensor) -> Tensor:
        """Map float32 (B, F), with categories as codes, to raw scores (B, num_outputs)."""
        vectors = [
            embedding(rows[:, place].long()) for embedding, place in zip(self.embeddings, self._categories, strict=True)
        ]
        scores: Tensor = self.layers(torch.cat([rows[:, self._numbers], *vectors], dim=1))
        return scores


def _create_embedding(count: int, dim: int) -> nn.Embedding:
    """Create the embedding of a column. The vector of code 0 (missing or unknown category) is initialized to zeros."""
    embedding = nn.Embedding(count + 1, dim)
    with torch.no_grad():
        embedding.weight[0].zero_()
    return embedding


TABULAR = Architecture(
    name="tabular",
    summary="Fully connected layers over a table row, with learned embeddings of categories.",
    source="Guo and Berkhahn, Entity Embeddings of Categorical Variables, 2016.",
    options=TabularOptions,
    build=Tabular,
    axes=frozenset({1}),
    embeds=True,
)
