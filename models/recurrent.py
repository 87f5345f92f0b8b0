"""Layers for sequences. Axes: B samples, T steps, F features, H units, D directions."""

from typing import Literal

import torch
from torch import Tensor, nn

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Recurrent(nn.Module):
    """An LSTM, a GRU or a plain one; either the state after the last step goes on, or what it gives at every step."""

    def __init__(
        self,
        kind: Literal["lstm", "gru", "rnn"],
        num_features: int,
        *,
        hidden: int,
        layers: int,
        dropout: float,
        bidirectional: bool,
        take: Literal["last", "all"],
    ) -> None:
        super().__init__()
        self.cells = CELLS[kind](
            num_features, hidden, layers, batch_first=True, dropout=dropout, bidirectional=bidirectional
        )
        self._takes_last = take == "last"
        self._num_directions = 2 if bidirectional else 1

    def forward(self, sequences: Tensor) -> Tensor:
        """Map (B, T, F) to (B, D * H), or (B, T, D * H) where every step is taken."""
        if sequences.is_meta:  # only the shape is asked for, and there every step would cost a millisecond
            steps = sequences.shape[:1] if self._takes_last else sequences.shape[:2]
            return sequences.new_empty(*steps, self._num_directions * self.cells.hidden_size)
        outputs, state = self.cells(sequences)
        if not self._takes_last:
            every: Tensor = outputs
            return every
        last = state[0] if isinstance(state, tuple) else state  # (layers * D, B, H); an LSTM's cells are no output
        return torch.cat(tuple(last[-self._num_directions :]), dim=1)


class Tokens(nn.Embedding):
    """A learnt vector for each whole number from 0; numbers that come as floats, as samples do."""

    def forward(self, numbers: Tensor) -> Tensor:
        """Map (B, *shape) to (B, *shape, dim); a last axis of one feature is taken away first."""
        if numbers.ndim > 2 and numbers.shape[-1] == 1:
            numbers = numbers.squeeze(-1)
        return super().forward(numbers.long())


class Transposed(nn.Module):
    """The two axes of a sample change places, as between steps that have features and channels that have steps."""

    def forward(self, samples: Tensor) -> Tensor:
        """Map (B, M, N) to (B, N, M)."""
        return samples.transpose(1, 2)
