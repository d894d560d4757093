"""Whose the variance is: a published example, closed forms, and the mixed model of statsmodels."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

from rnn_study import statistics
from rnn_study.errors import InvalidInput

PENICILLIN = np.array([
    27, 23, 26, 23, 23, 21, 27, 23, 26, 23, 23, 21, 25, 21, 25, 24, 24, 20, 26, 23, 25, 23, 23, 20,
    25, 22, 26, 22, 23, 20, 24, 22, 25, 23, 22, 19, 24, 20, 23, 21, 22, 19, 26, 22, 26, 24, 24, 21,
    24, 21, 24, 22, 22, 20, 24, 21, 24, 23, 22, 19, 26, 23, 26, 24, 24, 21, 25, 22, 26, 24, 24, 20,
    26, 24, 26, 24, 25, 22, 26, 23, 26, 23, 23, 20, 26, 23, 25, 24, 24, 22, 25, 22, 25, 23, 23, 20,
    25, 21, 24, 23, 23, 20, 25, 22, 24, 23, 23, 19, 24, 21, 23, 21, 21, 19, 26, 23, 26, 24, 24, 21,
    25, 21, 24, 22, 22, 18, 25, 22, 25, 22, 22, 20, 24, 21, 24, 22, 24, 19, 24, 21, 24, 22, 21, 18,
], dtype=float).reshape(24, 6)  # fmt: skip
"""Zones of inhibition, mm: 24 plates, six samples (Davies and Goldsmith, Statistical Methods in
Research and Production, 4th edition, 1972)."""


def draws(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


class TestVarianceSplit:
    def test_the_components_of_penicillin_assays(self) -> None:
        """Plate 0.7169, sample 3.7309, residual 0.3024: Bates, lme4, 2010, section 2.1."""
        found = statistics.variance_split(PENICILLIN)
        components = [part.value for part in found]
        assert components == pytest.approx([0.7169, 3.7309, 0.3024], abs=5e-5)
        assert all(part.low < part.value < part.high for part in found)

    def test_it_is_the_mixed_model_of_statsmodels(self) -> None:
        values = draws(1, 5, 1) + draws(2, 7).T + 0.5 * draws(3, 5, 7)
        rows, columns = (axis.ravel() for axis in np.indices(values.shape))
        parts = [np.equal.outer(axis, np.unique(axis)).astype(float) for axis in (rows, columns)]
        names = [
            [f"{n}{i}" for i in range(part.shape[1])] for n, part in zip("dw", parts, strict=True)
        ]
        model = MixedLM(
            values.ravel(),
            np.ones(values.size),
            np.zeros(values.size),
            exog_re=None,
            exog_vc=VCSpec(["data", "weights"], [[name] for name in names], [[p] for p in parts]),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = model.fit(reml=True)
        found = statistics.variance_split(values)
        expected = [*fit.vcomp, fit.scale]
        assert [part.value for part in found] == pytest.approx(expected, rel=1e-3)

    def test_the_rest_has_the_interval_of_chi_square(self) -> None:
        rest = statistics.variance_split(PENICILLIN).rest
        squares = 115 * rest.value
        limits = [squares / stats.chi2.isf(tail, 115) for tail in (0.025, 0.975)]
        assert list(rest[1:]) == pytest.approx(limits)

    def test_without_a_rest_the_data_have_the_interval_of_chi_square(self) -> None:
        effects = np.array([0.0, 1.0, 5.0])
        data = statistics.variance_split(effects[:, None] + np.arange(4.0)).data
        limits = [2 * effects.var(ddof=1) / stats.chi2.isf(tail, 2) for tail in (0.025, 0.975)]
        assert list(data) == pytest.approx([effects.var(ddof=1), *limits])

    def test_the_lower_limit_is_zero_where_the_f_test_is_at_its_edge(self) -> None:
        """The interval holds zero exactly if the test at 2.5% does not reject."""
        rest = draws(3, 4, 6)
        rest -= rest.mean(0) + rest.mean(1)[:, None] - rest.mean()
        square = (rest**2).sum() / 15
        effects = np.array([-1.0, 0.0, 0.0, 1.0])
        edge = stats.f.isf(0.025, 3, 15) * square / (6 * effects.var(ddof=1))
        for factor, above in ((0.99, False), (1.01, True)):
            values = rest + math.sqrt(factor * edge) * effects[:, None]
            assert (statistics.variance_split(values).data.low > 0) == above

    def test_rows_and_columns_change_places(self) -> None:
        found, turned = (statistics.variance_split(each) for each in (PENICILLIN, PENICILLIN.T))
        assert found.data == pytest.approx(turned.weights)
        assert found.weights == pytest.approx(turned.data)

    def test_what_does_not_vary_has_no_variance(self) -> None:
        found = statistics.variance_split(np.full((3, 4), 0.1))
        assert found == ((0, 0, 0),) * 3

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (np.ones((1, 5)), "design: '1 data seeds x 5 weight seeds' .*two of each"),
            (np.array([[1, 2], [3, np.nan]]), "design: .*1 missing.*every pair once"),
        ],
    )
    def test_what_is_no_full_design_is_refused(self, values: np.ndarray, message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            statistics.variance_split(values)
