"""What the table of targets says is met."""

import pytest
import targets


@pytest.mark.parametrize(
    ("limit", "at_least", "reached", "verdict"),
    [
        (30.1, True, 30.1, "met"),
        (30.1, True, 30.09, "short of it"),
        (-30.0, False, -30.5, "met"),
        (-30.0, False, -29.9, "short of it"),
        (0.0, False, 0.0, "met"),
        (1.0, True, None, "-"),
    ],
)
def test_a_target_is_met_at_its_limit_and_not_short_of_it(limit, at_least, reached, verdict):
    target = targets.Target("rate", limit, "%", at_least, reached, 1)
    assert target.cells()[-1] == verdict
    assert target.met == (verdict == "met")
    if reached is None:
        assert target.cells()[2] == "not measured"


def test_every_target_has_been_measured():
    found = targets.all_targets()
    assert len(found) >= 10
    assert all(target.reached is not None for target in found)
    ladder = targets.ladder_targets()
    assert all(target.reached is not None for target in ladder)
    assert all(target.met for target in ladder if "over PCA" in target.what)


def test_a_lead_over_pca_is_the_smallest_of_all_sizes(monkeypatch):
    rows = {"PCA": {2: 10.0, 64: 20.0}, "residual": {2: 11.0, 64: 20.5}}
    monkeypatch.setattr(targets.tables, "read_sizes", lambda file, dataset: rows)
    found = targets.ladder_targets()
    assert [target.reached for target in found] == [20.5, None, None, None, 0.5, 0.5]
    assert found[-1].what == "MNIST, smallest lead over PCA, K = 2 to 64"


def test_the_rate_at_a_quality_is_read_off_the_curve():
    assert targets._rate_at([(1.0, 20.0), (3.0, 40.0)], 30.0) == 2.0
    with pytest.raises(ValueError, match="expected a curve through"):
        targets._rate_at([(1.0, 20.0), (3.0, 40.0)], 50.0)
