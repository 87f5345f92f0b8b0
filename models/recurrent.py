"""Layers for sequences. Shapes use B for samples, T for steps, F for features, H for units, D for directions."""

from typing import Literal

import torch
from torch import Tensor, nn

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Recurrent(nn.Module):
    """An LSTM, GRU or Elman network that returns the state after the last step or the outputs of all steps."""

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
        """Map (B, T, F) to (B, D * H), or to (B, T, D * H) for all steps."""
        if sequences.is_meta:  # return only the shape, because meta tensors take 1 ms per step
            steps = sequences.shape[:1] if self._takes_last else sequences.shape[:2]
            return sequences.new_empty(*steps, self._num_directions * self.cells.hidden_size)
        outputs, state = self.cells(sequences)
        if not self._takes_last:
            every: Tensor = outputs
            return every
        last = state[0] if isinstance(state, tuple) else state  # (layers * D, B, H), without the cell state of an LSTM
        return torch.cat(tuple(last[-self._num_directions :]), dim=1)


class TokenEmbedding(nn.Embedding):
    """An embedding of the integers 0, 1, 2 and so on, which may be given as floats."""

    def forward(self, numbers: Tensor) -> Tensor:
        """Map (B, *shape) to (B, *shape, dim). A last axis of size 1 is removed from the input first."""
        if numbers.ndim > 2 and numbers.shape[-1] == 1:
            numbers = numbers.squeeze(-1)
        return super().forward(numbers.long())


class Transpose(nn.Module):
    """Swaps the two axes of a sample, for example steps and channels."""

    def forward(self, samples: Tensor) -> Tensor:
        """Map (B, M, N) to (B, N, M)."""
        return samples.transpose(1, 2)
