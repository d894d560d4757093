"""`ReplayedReading`: the segments of a text as CUDA graphs, as `graphs` does with batches."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from rnn_study.training.adam import Adam
from rnn_study.training.graphs import Body, Pool, replays, zero
from rnn_study.training.members import Members, Place
from rnn_study.training.reading import Keep, Reading, beginning, texts_of, update_
from rnn_study.training.step import Sums
from rnn_study.training.streams import Segment, Streams


class ReplayedReading(Reading):
    """Replays segments. Words, and the keys of what dropout leaves out, are copied to the graphs'
    memory.

    On a CPU nothing is captured: the same operations run on the same buffers, one after the other.
    """

    def __init__(
        self, keep: Keep | None = None, seconds: float = 30.0, pool: Pool | None = None
    ) -> None:
        """`keep`, `seconds`: as of `Reading`. `pool`: as of `Replay`."""
        super().__init__(keep, seconds)
        self.captures = 0
        """How often buffers were made: once, and whenever members have left."""
        self._pool = pool or Pool()
        self._made: _Buffers | None = None

    @property
    def _buffers(self) -> _Buffers:
        assert self._made is not None  # an epoch has begun
        return self._made

    def _begin(self, members: Members, place: Place) -> tuple[Members, Place]:
        if self._made is None or self._made.trials != members.trials:
            self._made = None  # its memory is free before more is taken
            self._made = _Buffers(members, self._pool)
            self.captures += 1
        return self._made.begin(members, place)

    def _update(
        self, now: Members, place: Place, segment: Segment, correction: Tensor, keys: Tensor
    ) -> None:
        self._buffers.update(segment, correction, keys)

    def _evaluate(self, now: Members, text: Streams) -> Float[Tensor, "S"]:
        return self._buffers.evaluate(text)

    def _end(self, now: Members) -> tuple[Float[Tensor, "S P"], Adam]:
        return now.flat.clone(), now.adam.clone()  # the buffers are those of the next epoch


class _Buffers:
    """The memory of a pack's members that does not move, and the graphs that work on it: of every
    length that a segment has, one that trains and one that validates."""

    def __init__(self, members: Members, pool: Pool) -> None:
        self.trials = members.trials
        self._network, *texts = texts_of(members)
        self._flat, self._adam = members.flat.clone(), members.adam.clone()
        self._sums = {k: v.clone() for k, v in beginning(members).values.items()}
        self._state = self._sums.pop("state")
        self._validation_state = torch.zeros_like(self._state)
        self._total = {"loss": torch.zeros_like(self._sums["loss"])}
        del self._sums["seconds"]
        self._correction = self._flat.new_zeros(2, len(members), 1)
        first = texts[0][0]
        longest = max(steps for text in texts for steps in text.lengths)
        shape = (longest, first.inputs.shape[1])
        self._words = Segment(*(first.inputs.new_zeros(shape) for _ in Segment._fields))
        for held, read in zip(self._words, first, strict=True):
            held[: len(read)].copy_(read)
        self._keys = torch.zeros(len(members), dtype=torch.int64, device=self._flat.device)
        train, *others = texts
        lengths = sorted(train.lengths), sorted({n for text in others for n in text.lengths})
        bodies: list[tuple[Body, Sums]] = [
            *((partial(self._train, steps), self._sums) for steps in lengths[0]),
            *((partial(self._validate, steps), self._total) for steps in lengths[1]),
        ]
        made = iter(replays(bodies, lambda: self._rewind(members), self._flat.device, pool))
        self._training, self._validation = ({n: next(made) for n in each} for each in lengths)

    def begin(self, members: Members, place: Place) -> tuple[Members, Place]:
        """Takes over what `members` are and where they are; the buffers themselves."""
        self._rewind(members)
        adam = Adam(self._adam.first, self._adam.second, members.adam.steps.copy())
        held = {**self._sums, "state": self._state}
        for name, buffer in held.items():
            buffer.copy_(place.values[name])
        values = {**place.values, **held}
        return replace(members, flat=self._flat, adam=adam), Place(place.batches, values)

    def update(self, segment: Segment, correction: Tensor, keys: Tensor) -> None:
        """Trains on a segment."""
        self._copy(segment)
        self._correction.copy_(correction)
        self._keys.copy_(keys)
        self._training[len(segment.inputs)]()

    def evaluate(self, text: Streams) -> Float[Tensor, "S"]:
        """The mean cross entropy of a whole text, nats a word; float64."""
        zero(self._validation_state, *self._total.values())
        for k in range(text.segments):
            self._copy(text[k])
            self._validation[len(text[k].inputs)]()
        return self._total["loss"] / text.steps

    def _copy(self, segment: Segment) -> None:
        for held, read in zip(self._words, segment, strict=True):
            held[: len(read)].copy_(read)

    def _segment(self, steps: int) -> Segment:
        return Segment(*(held[:steps] for held in self._words))

    def _rewind(self, members: Members) -> None:
        """Takes over what `members` are, at the beginning of an epoch."""
        self._flat.copy_(members.flat)
        self._adam.first.copy_(members.adam.first)
        self._adam.second.copy_(members.adam.second)
        zero(self._state, self._validation_state)

    def _train(self, steps: int) -> None:
        found, state = update_(
            self._network, self.trials[0], self._flat, self._adam, self._correction,
            self._segment(steps), self._state, self._keys,
        )  # fmt: skip
        self._state.copy_(state)
        self._sums["loss"].add_(steps * found["loss"].double())
        self._sums["norm"].add_(found["norm"].double())

    @torch.no_grad()
    def _validate(self, steps: int) -> None:
        params = self._network.views(self._flat)
        loss, state = self._network.read(params, self._segment(steps), self._validation_state)
        self._validation_state.copy_(state)
        self._total["loss"].add_(steps * loss.double())
