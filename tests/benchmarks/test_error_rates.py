"""Error rates of the rule of verdicts: the simulation, and that it is of the product's own rule."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from tests.claims.test_provisional import at
from tests.claims.test_verdict import value_claim

from anneal.claims.verdict import judge

CALLED = {"reproduced": (True, False), "lower": (False, True), "higher": (False, True)}


@pytest.fixture
def error_rates(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import error_rates

    return error_rates


@pytest.mark.parametrize("n", [3, 5])
def test_simulation_calls_each_row_what_judge_calls_it(error_rates: ModuleType, n: int) -> None:
    networks = 60
    campaign = error_rates.Campaign.draw(n, networks=networks, seed=5)
    values = np.full((networks, len(error_rates.SDS)), 0.3)
    found = campaign.judge((n,), values)
    claims = [
        value_claim(value=0.3, tolerance=error_rates.TOLERANCE, experiments=[f"r{row}"])
        for row in range(len(error_rates.SDS))
    ]
    counted = np.zeros((2, len(claims)))
    for of_one in campaign.runs[..., :n]:
        evidence = {f"r{row}": at(f"r{row}", runs.tolist()) for row, runs in enumerate(of_one)}
        verdicts = [judge(claim, evidence).verdict for claim in claims]
        counted += np.array([CALLED.get(verdict, (False, False)) for verdict in verdicts]).T
    np.testing.assert_allclose([found.inside, found.outside], counted / networks, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 4, 5])
def test_rule_errs_on_five_percent_of_a_side_at_the_edge(error_rates: ModuleType, n: int) -> None:
    edge = error_rates.simulate((n,), networks=4000, seed=1)["edge"]
    for side in (edge.inside, edge.outside):
        assert side.mean() <= 0.055
        assert side.max() <= 0.08
        assert side.mean() > 0.03  # and it is no rule that never decides


@pytest.mark.slow
def test_table_on_the_page_is_the_one_that_the_command_makes(
    error_rates: ModuleType, repository: Path
) -> None:
    assert error_rates.table() in (repository / error_rates.PAGE).read_text()
