"""The paper's language model (Section 5.3) as plain PyTorch has it: what ours are compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from rnn_study.training.streams import Streams


class Plain(nn.Module):
    """The paper's LSTM language model, as torch's own layers make it."""

    def __init__(self, vocabulary: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.embed = nn.Embedding(vocabulary, hidden)
        self.lstm = nn.LSTM(hidden, hidden)
        self.out = nn.Linear(hidden, vocabulary)
        self.out.weight = self.embed.weight
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)
        nn.init.zeros_(self.out.bias)

    def forward(self, words: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None):
        """Outputs (T, B, V) and the last state."""
        seen, state = self.lstm(self.drop(self.embed(words)), state)
        return self.out(self.drop(seen)), state


def plain_losses(
    model: Plain, text: Streams, segments: int, rate: float, clip: float
) -> list[float]:
    """Trains on the first segments; the mean loss of each."""
    optimiser = torch.optim.Adam(model.parameters(), rate)
    state, losses = None, []
    for k in range(segments):
        segment = text[k]
        outputs, state = model(segment.inputs, state)
        state = tuple(part.detach() for part in state)
        loss = F.cross_entropy(outputs.flatten(0, 1), segment.targets.flatten().long())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        losses.append(loss.detach())
    return [float(loss) for loss in losses]
