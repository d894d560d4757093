"""The oracle: a plain training loop of one network, with the LSTM and the optimiser of torch."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from rnn_study.cells.lstm import from_torch, to_torch
from rnn_study.randomness import generator
from rnn_study.tasks import TASKS

SYMBOL = TASKS["symbol"]


class PlainLSTM(torch.nn.Module):
    """`torch.nn.LSTM` and `torch.nn.Linear`."""

    def __init__(self, start):
        super().__init__()
        self.lstm = to_torch({name: torch.from_numpy(array)[None] for name, array in start.items()})
        self.out = torch.nn.Linear(*start["w_out"].shape)
        self.out.weight.data = torch.from_numpy(start["w_out"].T.copy())
        self.out.bias.data = torch.from_numpy(start["b_out"])

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])

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

    def __init__(self, start, cell):
        super().__init__()
        self.cell = cell
        self.params = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(torch.from_numpy(a)[None]) for name, a in start.items()}
        )

    def forward(self, x):
        params = dict(self.params)
        weights = self.cell.weights(params)
        state = torch.zeros(1, len(x), self.cell.state_size(params["w_out"].shape[1]))
        for x_t in x.unbind(1):
            state = self.cell.step(weights, x_t[None], state)
        return (self.cell.output(state) @ params["w_out"] + params["b_out"])[0]

    def project(self):
        self.cell.project_({name: tensor.data for name, tensor in self.params.items()})

    def arrays(self):
        return {name: tensor[0] for name, tensor in self.params.items()}


def plain_training(trial, net):
    """Rows of metrics and the last parameters, by torch's optimiser, schedule and clip."""
    adam = torch.optim.Adam(net.parameters(), trial.learning_rate)
    schedule = torch.optim.lr_scheduler.MultiStepLR(adam, trial.decay_epochs, trial.decay)
    entropy = torch.nn.CrossEntropyLoss(reduction=trial.batch_loss)
    (x, y), (x_val, y_val) = (
        (SYMBOL.encode(torch.from_numpy(drawn.inputs)), torch.from_numpy(drawn.targets))
        for split, size in (("train", trial.train_size), ("validation", trial.val_size))
        for drawn in [SYMBOL.sequences(trial.data_seed, split, trial.length, size)]
    )
    rows = []
    for epoch in range(trial.epochs):
        order = generator(trial.seed, "order", epoch).permutation(trial.train_size)
        losses, right, norms = [], [], []
        for chosen in order.reshape(-1, trial.batch):
            outputs = net(x[chosen])
            loss = entropy(outputs, y[chosen])
            adam.zero_grad()
            loss.backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(net.parameters(), trial.clip)))
            adam.step()
            if hasattr(net, "project"):
                net.project()
            losses.append(F.cross_entropy(outputs, y[chosen]).item())
            right.append((outputs.argmax(-1) == y[chosen]).float().mean().item())
        with torch.no_grad():
            outputs = net(x_val)
        rows.append(
            {
                "train_loss": np.mean(losses),
                "train_accuracy": np.mean(right),
                "val_loss": F.cross_entropy(outputs, y_val).item(),
                "val_accuracy": (outputs.argmax(-1) == y_val).float().mean().item(),
                "gradient_norm": np.mean(norms),
                "learning_rate": adam.param_groups[0]["lr"],
            }
        )
        schedule.step()
    return rows, {name: tensor.detach().numpy() for name, tensor in net.arrays().items()}
