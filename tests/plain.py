"""The oracle: a plain training loop of one network, with the LSTM and the optimiser of torch."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from rnn_study.cells.lstm import from_torch, to_torch
from rnn_study.randomness import generator
from rnn_study.tasks import TASKS


class PlainLSTM(torch.nn.Module):
    """`torch.nn.LSTM` and `torch.nn.Linear`."""

    def __init__(self, start, every_step=False):
        super().__init__()
        self.seen = slice(None) if every_step else -1
        self.lstm = to_torch({name: torch.from_numpy(array)[None] for name, array in start.items()})
        self.out = torch.nn.Linear(*start["w_out"].shape)
        self.out.weight.data = torch.from_numpy(start["w_out"].T.copy())
        self.out.bias.data = torch.from_numpy(start["b_out"])

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, self.seen])

    def arrays(self):
        cell = {name: tensor[0] for name, tensor in from_torch(self.lstm).items()}
        return {**cell, "w_out": self.out.weight.T, "b_out": self.out.bias}


class PlainStableLSTM(PlainLSTM):
    """Rescales columns after each step, by torch's layout, as the authors' code does."""

    @torch.no_grad()
    def project(self):
        for block, budget in zip(
            self.lstm.weight_hh_l0.chunk(4), (0.395, 0.155, 0.099, 0.395), strict=True
        ):
            block *= budget / block.abs().sum(0)
        forget = self.lstm.weight_ih_l0.chunk(4)[1]
        forget *= 0.25 / forget.abs().sum(0)


class PlainCell(torch.nn.Module):
    """Any cell, step by step, through autograd alone."""

    def __init__(self, start, every_step=False, *, cell):
        super().__init__()
        self.cell, self.every_step = cell, every_step
        self.params = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(torch.from_numpy(a)[None]) for name, a in start.items()}
        )

    def forward(self, x):
        params = dict(self.params)
        weights = self.cell.weights(params)
        state = torch.zeros(1, len(x), self.cell.state_size(params["w_out"].shape[1]))
        outputs = []
        for x_t in x.unbind(1):
            state = self.cell.step(weights, x_t[None], state)
            outputs.append((self.cell.output(state) @ params["w_out"] + params["b_out"])[0])
        return torch.stack(outputs, 1) if self.every_step else outputs[-1]

    def project(self):
        self.cell.project_({name: tensor.data for name, tensor in self.params.items()})

    def arrays(self):
        return {name: tensor[0] for name, tensor in self.params.items()}


def entropy_and_accuracy(outputs, targets):
    right = (outputs.argmax(-1) == targets).float()
    return F.cross_entropy(outputs, targets, reduction="none"), {"accuracy": right}


def square_error(outputs, targets):
    return torch.stack([F.mse_loss(o[:, 0], t) for o, t in zip(outputs, targets, strict=True)]), {}


def plain_training(trial, net, measure=entropy_and_accuracy):
    """Rows of metrics and the last parameters, by torch's optimiser, schedule and clip.

    `measure`: the loss of each sequence, and its share in further metrics.
    """
    task = TASKS[trial.task]
    slow = [p for name, p in net.named_parameters() if name.endswith("skew")]
    fast = [p for name, p in net.named_parameters() if not name.endswith("skew")]
    groups = [{"params": fast}, {"params": slow, "lr": trial.learning_rate * trial.orthogonal_rate}]
    adam = torch.optim.Adam(groups, trial.learning_rate)
    schedule = torch.optim.lr_scheduler.MultiStepLR(adam, trial.decay_epochs, trial.decay)
    reduce = {"mean": torch.mean, "sum": torch.sum}[trial.batch_loss]
    (x, y), (x_val, y_val) = (
        (task.encode(torch.from_numpy(drawn.inputs)), torch.from_numpy(drawn.targets))
        for split, size in (("train", trial.train_size), ("validation", trial.val_size))
        for drawn in [task.sequences(trial.data_seed, split, trial.length, size)]
    )
    rows = []
    for epoch in range(trial.epochs):
        order = generator(trial.seed, "order", epoch).permutation(trial.train_size)
        batches, norms = [], []
        for chosen in order.reshape(-1, trial.batch):
            losses, scores = measure(net(x[chosen]), y[chosen])
            adam.zero_grad()
            reduce(losses).backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(net.parameters(), trial.clip)))
            adam.step()
            if hasattr(net, "project"):
                net.project()
            batches.append({"loss": losses.mean().item(), **_means(scores)})
        with torch.no_grad():
            losses, scores = measure(net(x_val), y_val)
        rows.append(
            {
                **{f"train_{name}": np.mean([b[name] for b in batches]) for name in batches[0]},
                **{
                    f"val_{name}": value
                    for name, value in _means({"loss": losses, **scores}).items()
                },
                "gradient_norm": np.mean(norms),
                "learning_rate": adam.param_groups[0]["lr"],
            }
        )
        schedule.step()
    return rows, {name: tensor.detach().numpy() for name, tensor in net.arrays().items()}


def _means(values):
    return {name: value.mean().item() for name, value in values.items()}
