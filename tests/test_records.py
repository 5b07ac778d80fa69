import re
from dataclasses import dataclass, field

import pytest

from aelib import records


@dataclass(frozen=True)
class Inner:
    mean: float


@dataclass(frozen=True)
class Outer:
    name: str
    count: int
    inner: Inner
    rate: float | None
    said: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self):
        if self.count < 0:
            raise ValueError(f"expected a count of 0 or more, got {self.count}")


GOOD = {"name": "a", "count": 3, "inner": {"mean": 1}, "rate": None, "said": {"x": [1, 2.5]}}


def test_a_record_has_fields_of_their_types():
    made = records.made(Outer, GOOD)
    assert made == Outer("a", 3, Inner(1.0), None, {"x": [1.0, 2.5]})
    assert type(made.inner.mean) is float
    assert records.made(Outer, {key: GOOD[key] for key in GOOD if key != "said"}).said == {}
    assert records.made(Inner, {"mean": float("inf")}) == Inner(float("inf"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "Outer: name: Input should be a valid string, got 3"),
        ({"count": 3.5}, "Outer: count: Input should be a valid integer, got 3.5"),
        ({"count": "3"}, "Outer: count: Input should be a valid integer, got '3'"),
        ({"count": True}, "Outer: count: Input should be a valid integer, got True"),
        ({"count": -1}, "Outer: expected a count of 0 or more, got -1"),
        ({"inner": 5}, "Outer: inner: Input should be an object, got 5"),
        ({"inner": {}}, "Outer: inner.mean: Field required"),
        ({"inner": {"mean": object()}}, "Outer: inner.mean: Input should be a valid number, got '<object"),
        ({"rate": "1"}, "Outer: rate: Input should be a valid number, got '1'"),
        ({"said": {"x": [None]}}, "Outer: said.x.0: Input should be a valid number, got None"),
        ({"other": 3}, "expected count, inner, name, rate, said, got {"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        records.made(Outer, GOOD | change)


@pytest.mark.parametrize("content", [None, 3, "text", [], ["name"]])
def test_what_has_no_fields_is_refused(content):
    with pytest.raises(ValueError, match="expected count, inner, name, rate, said, got"):
        records.made(Outer, content)
