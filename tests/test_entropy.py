import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aelib import entropy, range_coder


def same(count, low, frequencies):
    """So many tables, all alike."""
    return entropy.Tables(np.full(count, low), np.full(count, len(frequencies)), np.tile(frequencies, count))


def laplace(seed, count, size, scale=6.0):
    return np.rint(np.random.default_rng(seed).laplace(0, scale, (count, size))).astype(np.int64)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 6),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.3, 5.0, 300.0]),
    st.sampled_from([0.0, 0.3, 5.0, 3000.0, 1e9]),
    st.integers(0, 1 << 30),
)
def test_any_symbols_come_back_whatever_the_tables_were_fitted_to(count, size, fitted, coded, seed):
    tables = entropy.fit_tables(laplace(seed, 50, size, fitted))
    symbols = laplace(seed + 1, count, size, coded).clip(-(1 << 31), (1 << 31) - 1)
    assert np.array_equal(entropy.decode(entropy.encode(symbols, tables), tables), symbols)


def test_the_ends_of_32_bits_escape_and_come_back_and_more_is_refused():
    tables = entropy.fit_tables(laplace(0, 50, 3))
    ends = np.array([[-(1 << 31), 0, (1 << 31) - 1]])
    assert np.array_equal(entropy.decode(entropy.encode(ends, tables), tables), ends)
    with pytest.raises(ValueError, match=r"expected symbols of 32 bits, got values from 0 to 2147483648"):
        entropy.encode(np.array([[0, 0, 1 << 31]]), tables)


def test_streams_are_within_half_a_byte_of_the_shannon_length():
    tables = entropy.fit_tables(laplace(0, 4000, 64))
    symbols = laplace(1, 2000, 64)
    lengths = np.array([len(stream) for stream in entropy.encode(symbols, tables)])
    shannon = entropy.information(symbols, tables) / 8
    # No prefix-free code can be shorter on average; a single stream may be, as its length is known from outside.
    assert 0 < (lengths - shannon).mean() < 0.5
    assert (lengths - shannon).max() < 2


def test_information_is_the_sum_of_minus_log_probabilities():
    tables = same(2, 5, [1 << 15, 1 << 14, 1 << 14])
    bits = entropy.information(np.array([[5, 5], [5, 6], [9, 6]]), tables)
    # 9 is not in the table: its escape, of probability 1/4, and 32 bits.
    assert bits.tolist() == [2, 3, 2 + 32 + 2]


def test_known_streams_stay_the_same_for_ever():
    halves = same(16, 0, [1 << 15, (1 << 15) - 1, 1])
    symbols = np.array([[0] * 16, [1] * 16, [0, 1] * 8, [1, 0] * 8])
    # Fair bits are the binary digits themselves, up to the escape's sliver of probability; zeros at the end go.
    assert [stream.hex() for stream in entropy.encode(symbols, halves)] == ["", "fffe", "5555", "aaaa"]


def test_a_stream_does_not_depend_on_the_others_in_its_batch():
    tables = entropy.fit_tables(laplace(0, 500, 20))
    symbols = laplace(1, 40, 20, 50.0)
    together = entropy.encode(symbols, tables)
    assert together == [entropy.encode(row[None], tables)[0] for row in symbols]
    assert np.array_equal(entropy.decode(together[::-1], tables), symbols[::-1])


def columns(tables):
    """The frequencies of each table, as lists."""
    return [column.tolist() for column in np.split(tables.frequencies, np.cumsum(tables.counts)[:-1])]


def independent_decode(stream, tables):
    """Decode one stream with unbounded integers and fractions of the interval: a second reading of the format."""
    value = int.from_bytes(stream, "big") << (8 * 1000)
    low, width = 0, 1 << 48
    digits = 8 * len(stream) + 8000 - 48
    symbols = []
    for low_value, frequencies in zip(tables.lows, columns(tables), strict=True):
        starts = [sum(frequencies[:i]) for i in range(len(frequencies))]
        offset = (value >> digits) - low if digits >= 0 else (value << -digits) - low
        step = width >> 16
        index = max(i for i, start in enumerate(starts) if start * step <= offset)
        low, width = low + step * starts[index], step * frequencies[index]
        symbols.append(int(low_value) + index)
        while width < 1 << 40:
            low, width, digits = low << 8, width << 8, digits - 8
    return symbols


def test_an_independent_decoder_reads_the_same_symbols():
    tables = entropy.fit_tables(laplace(0, 3000, 30))
    symbols = np.clip(laplace(1, 25, 30), tables.lows, tables.lows + tables.counts - 2)
    for stream, row in zip(entropy.encode(symbols, tables), symbols, strict=True):
        assert independent_decode(stream, tables) == row.tolist()


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=80))
def test_any_bytes_decode_to_some_symbols_or_are_refused(stream):
    tables = entropy.fit_tables(laplace(0, 100, 10))
    limit = 10 * 6 + 6
    if len(stream) > limit:
        with pytest.raises(ValueError, match=f"expected at most {limit} bytes for 10 symbols, got {len(stream)}"):
            entropy.decode([stream], tables)
    else:
        symbols = entropy.decode([stream], tables)
        assert symbols.shape == (1, 10)
        assert np.abs(symbols).max() <= 1 << 31


def test_tables_hold_every_value_that_was_seen_and_sum_to_a_power_of_two():
    tables = entropy.fit_tables(np.array([[-3, 7]] * 100_000 + [[4, 7]]))
    assert tables.lows.tolist() == [-3, 7]
    assert tables.counts.tolist() == [8 + 1, 1 + 1]
    assert tables.frequencies.min() >= 1
    assert [sum(column) for column in columns(tables)] == [1 << 16] * 2


def test_the_shannon_length_under_a_fitted_table_is_near_the_empirical_entropy():
    symbols = laplace(3, 20_000, 1)
    counts = np.bincount(symbols[:, 0] - symbols.min())
    shares = counts[counts > 0] / len(symbols)
    entropy_bits = -(shares * np.log2(shares)).sum()
    mean = entropy.information(symbols, entropy.fit_tables(symbols)).mean()
    # Gibbs: never below; rounding to 2**-16 and the half counts cost little.
    assert entropy_bits <= mean < entropy_bits + 0.01


@pytest.mark.parametrize(
    ("counts", "frequencies"),
    [
        ([1], [65536]),
        ([2], [65536, 0]),
        ([2], [1, 2]),
        ([2], [65537, -1]),
        ([2, 2], [65535, 1, 1, 65534]),
        ([3], [65535, 1]),
        ([], []),
    ],
)
def test_tables_that_cannot_be_coded_with_are_refused(counts, frequencies):
    with pytest.raises(ValueError, match="expected tables of two or more frequencies of at least 1 with sum 65536"):
        entropy.Tables(np.zeros(len(counts), np.int64), np.array(counts, np.int64), np.array(frequencies, np.int64))
    with pytest.raises(ValueError, match="expected tables"):
        entropy.Tables(np.zeros(len(counts) + 1, np.int64), np.array(counts, np.int64), np.array(frequencies, np.int64))


def test_some_of_the_tables_and_all_of_several_are_tables_again():
    tables = entropy.fit_tables(laplace(0, 50, 9))
    parts = [tables[:2], tables[2:3], tables[3:]]
    assert [len(part) for part in parts] == [2, 1, 6]
    joined = entropy.Tables.joined(parts)
    for name in ("lows", "counts", "frequencies"):
        assert np.array_equal(getattr(joined, name), getattr(tables, name))


def test_each_symbol_may_have_any_of_the_tables():
    tables = entropy.fit_tables(np.concatenate([laplace(0, 300, 3, 1.0), laplace(1, 300, 3, 30.0)], axis=1))
    symbols, rows = laplace(2, 20, 3, 8.0), np.arange(20) % 2
    which = 3 * rows[:, None] + np.arange(3)
    streams = entropy.encode(symbols, tables, which)
    assert np.array_equal(entropy.decode(streams, tables, which), symbols)
    for row, own in enumerate(rows):
        assert [streams[row]] == entropy.encode(symbols[row : row + 1], tables[3 * own : 3 * own + 3])


def test_shapes_are_named():
    tables = entropy.fit_tables(laplace(0, 10, 3))
    with pytest.raises(ValueError, match=r"expected symbols of shape \(N, 3\), got \(2, 4\)"):
        entropy.encode(laplace(0, 2, 4), tables)
    with pytest.raises(ValueError, match="expected symbols in a range of at most 16384 values, got one of 1048576"):
        entropy.fit_tables(np.array([[0], [1 << 20]]))
    with pytest.raises(ValueError, match=r"expected one or more symbols of shape \(N, T\), got \(0, 3\)"):
        entropy.fit_tables(np.zeros((0, 3), np.int64))


def test_long_streams_of_rare_symbols_have_room():
    tables = same(3000, 0, [30_000, 1, 35_535])
    symbols = np.ones((1, 3000), np.int64)
    (stream,) = entropy.encode(symbols, tables)
    # Each costs 16 bits.
    assert math.isclose(len(stream), 6000, abs_tol=2)
    assert np.array_equal(entropy.decode([stream], tables), symbols)


@pytest.mark.parametrize("value", [-(1 << 31) - 1, 1 << 31])
def test_what_32_bits_cannot_hold_is_refused_and_what_they_just_hold_is_coded(value):
    tables = entropy.fit_tables(np.array([[0], [1]]))
    with pytest.raises(ValueError, match=f"expected symbols of 32 bits, got values from .*{value}"):
        entropy.encode(np.array([[0], [value]]), tables)
    last = np.array([[value + 1 if value < 0 else value - 1]])
    assert (entropy.decode(entropy.encode(last, tables), tables) == last).all()


def test_unsigned_symbols_are_coded_and_floats_are_named():
    tables = entropy.fit_tables(np.array([[0], [1]]))
    assert entropy.encode(np.array([[1]], np.uint8), tables) == entropy.encode(np.array([[1]]), tables)
    with pytest.raises(TypeError, match="expected symbols of an integer dtype, got float64"):
        entropy.encode(np.array([[1.0]]), tables)


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=40), st.lists(st.sampled_from([1, 2, 7, 16]), min_size=1, max_size=12), st.integers(0, 1 << 30)
)
@example(b"\xff" * 40, [16] * 12, 0)  # beyond the last symbol's interval
def test_one_stream_in_whole_numbers_is_read_as_many_are(stream, widths, seed):
    """Any bytes are a stream of some symbols; both ways must agree on damaged ones as well."""
    tables = entropy.fit_tables(laplace(seed, 50, 3, 2.0))
    many, one = range_coder.Decoder([stream]), range_coder.Single(stream)
    for place, bits in enumerate(widths):
        which = place % 3
        target = many.target()
        assert one.target() == target[0]
        found = tables.find(target, np.array([which]))
        assert tables.find_one(one.target(), which) == tuple(part[0] for part in found)
        _, start, frequency, _ = found
        many.advance(start, frequency)
        one.advance(int(start[0]), int(frequency[0]))
        raw = many.target(bits=bits)
        assert one.target(bits) == raw[0]
        many.advance(raw, np.ones_like(raw), bits=bits)
        one.advance(int(raw[0]), 1, bits)
