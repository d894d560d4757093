"""Attractors during training: what is seen, when, by whom, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import TRIAL, trials

from rnn_study.cells import CELLS
from rnn_study.config import Pack
from rnn_study.dynamics import Kind, constant_input, orbit
from rnn_study.randomness import generator
from rnn_study.tasks import TASKS
from rnn_study.training import Album, Checkpoints, Network, train
from rnn_study.training.album import bind
from rnn_study.training.watch import SECONDS

SINE = replace(TRIAL, task="sine", length=37)
NUMBERS = ("lyapunov", "kind", "attractors", "period")


def seen(pack, checkpoints=None, **options):
    """Each trial's portraits and dynamics columns, epoch by epoch."""
    portraits, columns = {t.id: {} for t in pack}, {t.id: [] for t in pack}
    for epoch in train(Pack(tuple(pack)), "cpu", checkpoints, **options):
        for s, trial in enumerate(epoch.trials):
            watched = {k: v[s] for k, v in epoch.metrics.items() if k.startswith("dynamics/")}
            columns[trial.id].append(watched)
            if trial.id in epoch.portraits:
                portraits[trial.id][int(epoch.number[s])] = epoch.portraits[trial.id]
    return portraits, columns


@pytest.mark.parametrize("trial", [TRIAL, SINE], ids=["symbol", "sine"])
def test_every_input_has_its_numbers_at_the_epochs_asked_for_and_at_the_end(trial) -> None:
    trial = replace(trial, epochs=5, dynamics_every=2)
    portraits, columns = seen([trial])
    assert [*portraits[trial.id]] == [2, 4, 5]
    probes = TASKS[trial.task].probes()
    names = {f"dynamics/{probe}/{number}" for probe in probes for number in NUMBERS}
    for epoch, row in enumerate(columns[trial.id], start=1):
        assert set(row) == names
        assert np.isfinite([*row.values()]).all() == (epoch in portraits[trial.id])
        assert np.isnan([*row.values()]).all() == (epoch not in portraits[trial.id])
    last = columns[trial.id][-1]
    for b, probe in enumerate(probes):
        for number in NUMBERS:
            assert last[f"dynamics/{probe}/{number}"] == getattr(portraits[trial.id][5], number)[b]


def test_the_inputs_are_those_of_the_paper() -> None:
    symbols, frequencies = TASKS["symbol"].probes(), TASKS["sine"].probes()
    assert [*symbols] == [*"pqabcd"]
    np.testing.assert_array_equal(np.stack([*symbols.values()]), np.eye(6))
    assert len(frequencies) == 10 and [*frequencies][1] == "0.218"
    assert all(f"{value[0]:.3f}" == name for name, value in frequencies.items())


@pytest.mark.parametrize("name", CELLS)
def test_an_orbit_is_that_of_the_trained_network_under_its_input(name, tmp_path) -> None:
    """Started where the portrait's orbit was, the network goes where that went."""
    trial = replace(SINE, cell=name, epochs=2, dynamics_every=1)
    checkpoints = Checkpoints(tmp_path)
    portraits, _ = seen([trial], checkpoints)
    cell, network = CELLS[name], Network(trial)
    state = checkpoints.load(trial)
    params = {k: torch.from_numpy(v)[None].double() for k, v in state.params.items()}
    inputs = torch.from_numpy(np.stack([*TASKS["sine"].probes().values()]))[None]
    size = cell.state_size(trial.hidden)
    starts = generator(trial.seed, "orbits").normal(0, 100, (10, 4, size))
    starts[:, 0] = 0  # from which it was trained
    step = constant_input(cell, cell.weights(params), inputs)
    for p in (0, 2):
        visited = orbit(step, torch.from_numpy(starts[:, p])[None], 1200, 400)
        outputs = cell.output(visited[0]) @ params["w_out"][0] + params["b_out"][0]
        found = portraits[trial.id][2].orbits[:, p]
        np.testing.assert_allclose(found, outputs, rtol=1e-4, atol=1e-5)
    assert network.task.transient == 1200


@pytest.mark.parametrize("name", CELLS)
def test_a_pack_is_as_invisible_to_attractors_as_to_training(name, tmp_path) -> None:
    """To the last bit: alone, in a pack, and in a pack whose members resumed at other epochs."""
    pack = trials(3, cell=name, epochs=3, dynamics_every=2)
    apart, _ = seen([replace(pack[1])])
    together, _ = seen(pack)
    begun = Checkpoints(tmp_path)
    next(train(Pack((pack[1],)), "cpu", begun, 1e-9))  # one epoch
    resumed, _ = seen(pack, begun, checkpoint_seconds=1e-9)
    assert [*apart[pack[1].id]] == [2, 3]
    for epoch, portrait in apart[pack[1].id].items():
        for others in (together, resumed):
            for key, array in others[pack[1].id][epoch].arrays().items():
                assert array.tobytes() == portrait.arrays()[key].tobytes(), key


def test_watching_changes_nothing_of_the_training() -> None:
    def losses(every):
        epochs = train(Pack((replace(TRIAL, dynamics_every=every),)), "cpu")
        return [epoch.metrics["val_loss"].tobytes() for epoch in epochs]

    assert losses(1) == losses(0)


def test_what_is_not_asked_for_is_neither_a_metric_nor_kept(tmp_path) -> None:
    epoch = next(iter(train(Pack((TRIAL,)), "cpu", Checkpoints(tmp_path))))
    assert not [name for name in epoch.metrics if name.startswith("dynamics")]
    assert not epoch.portraits and not [*tmp_path.rglob("portraits")]


def test_a_diverged_network_has_a_portrait_that_says_so() -> None:
    trial = replace(TRIAL, learning_rate=1e30, cell="orthogonal", dynamics_every=2)
    (epoch, *_) = train(Pack((trial,)), "cpu")
    assert epoch.status == ("diverged",)
    portrait = epoch.portraits[trial.id]
    assert (portrait.kind == Kind.DIVERGED).all() and (portrait.attractors == 0).all()
    assert (portrait.label == -1).all()


class TestAlbum:
    @pytest.fixture
    def trained(self, tmp_path):
        """A trial, its portraits, its folder and its checkpoints after every epoch."""
        trial = replace(TRIAL, dynamics_every=1)
        checkpoints = Checkpoints(tmp_path)
        params = []
        portraits = {}
        for epoch in train(Pack((trial,)), "cpu", checkpoints, checkpoint_seconds=1e-9):
            params.append(checkpoints.load(trial).params)
            portraits[int(epoch.number[0])] = epoch.portraits[trial.id]
        return portraits, checkpoints.portraits(trial), params

    def test_holds_every_portrait_and_the_network_of_its_epoch(self, trained, tmp_path) -> None:
        portraits, folder, params = trained
        bind(folder, tuple("pqabcd"), 3).save(tmp_path / "album.npz")
        album = Album.load(tmp_path / "album.npz")
        assert album.epochs.tolist() == [1, 2, 3] and album.probes == tuple("pqabcd")
        for e, epoch in enumerate(album.epochs):
            for name, array in portraits[epoch].arrays().items():
                np.testing.assert_array_equal(getattr(album.portraits, name)[e], array)
            for name, array in params[e].items():
                np.testing.assert_array_equal(album.networks[name][e], array)

    def test_leaves_out_damaged_pages_and_those_that_training_will_make_again(
        self, trained, caplog
    ) -> None:
        _, folder, _ = trained
        page = folder.path / "00000002.npz"
        page.write_bytes(page.read_bytes()[:-900])
        assert bind(folder, tuple("pqabcd"), 3).epochs.tolist() == [1, 3]
        assert "00000002.npz is damaged" in caplog.text
        assert bind(folder, tuple("pqabcd"), 1).epochs.tolist() == [1]
        with pytest.raises(FileNotFoundError, match="no portrait"):
            bind(folder.within("none"), tuple("pqabcd"), 3)


def test_the_time_it_takes_is_told_apart_from_the_training() -> None:
    epochs = [*train(Pack((replace(TRIAL, dynamics_every=2),)), "cpu")]
    assert [epoch.metrics[SECONDS][0] > 0 for epoch in epochs] == [False, True, True]


def test_the_provable_stable_lstm_has_one_fixed_point_at_every_epoch() -> None:
    """A theorem (Miller and Hardt, 2019): it contracts, so one point attracts from everywhere.

    At a rate at which the plain LSTM, under the same seeds, soon has several or other attractors.
    """
    wild = {"learning_rate": 0.3, "epochs": 16}
    for name, every, holds in (("stable_lstm_provable", 1, True), ("lstm", 16, False)):
        pack = [replace(t, dynamics_every=every, **wild) for t in trials(5, cell=name)[1::3]]
        portraits, _ = seen(pack)
        pages = [page for album in portraits.values() for page in album.values()]
        assert len(pages) == 2 * 16 / every
        single = [
            (page.attractors == 1).all() and (page.kind == Kind.FIXED_POINT).all() for page in pages
        ]
        assert all(single) == any(single) == holds
