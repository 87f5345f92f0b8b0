"""A perceptron for tables: each category of a column is a learnt vector, beside the numbers."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from models.mlp import MlpOptions, Width, build_mlp
from models.registry import Architecture, Shape


class TabularOptions(MlpOptions):
    hidden: Annotated[tuple[Width, ...], Field(strict=False, max_length=64)] = (64, 32)
    """Units of each hidden layer; none makes a linear model."""
    embedding_dim: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Length of the vectors; half a column's number of categories, rounded up, at most 50, unless given."""


class Tabular(nn.Module):
    """Columns side by side, categories as vectors, then fully connected layers."""

    def __init__(self, options: TabularOptions, cardinalities: Shape, num_outputs: int) -> None:
        """`cardinalities`: one a column; 0 for numbers."""
        super().__init__()
        self._numbers = [place for place, count in enumerate(cardinalities) if not count]
        self._categories = [place for place, count in enumerate(cardinalities) if count]
        counts = [cardinalities[place] for place in self._categories]
        dims = [options.embedding_dim or min(50, (count + 1) // 2) for count in counts]
        self.embeddings = nn.ModuleList(_embedding(count, dim) for count, dim in zip(counts, dims, strict=True))
        self.layers = build_mlp(options, (len(self._numbers) + sum(dims),), num_outputs)

    def forward(self, rows: Tensor) -> Tensor:
        """Map float32 (B, F), categories by their numbers, to raw scores (B, num_outputs)."""
        vectors = [
            embedding(rows[:, place].long()) for embedding, place in zip(self.embeddings, self._categories, strict=True)
        ]
        scores: Tensor = self.layers(torch.cat([rows[:, self._numbers], *vectors], dim=1))
        return scores


def _embedding(count: int, dim: int) -> nn.Embedding:
    """One vector a category, after that of a missing or unknown one: it begins as nothing, which is what it means."""
    embedding = nn.Embedding(count + 1, dim)
    with torch.no_grad():
        embedding.weight[0].zero_()
    return embedding


TABULAR = Architecture(
    name="tabular",
    summary="Fully connected layers over a table's row, whose categories are learnt vectors.",
    source="Guo and Berkhahn, Entity Embeddings of Categorical Variables, 2016.",
    options=TabularOptions,
    build=Tabular,
    axes=frozenset({1}),
    embeds=True,
)
