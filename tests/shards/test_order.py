"""Laws of the order in which rows pass: nothing lost or repeated for any readers, each row group read about once."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.shards.order import Order, OrderSettings, Place, Span, Weave, deal

PLAIN = OrderSettings(seed=0, shuffle=True, window=8, lanes=3, batch_size=None, max_tokens=None)


@st.composite
def orders(draw):
    group_rows = np.array(draw(st.lists(st.integers(0, 9), max_size=12)), dtype=np.int64)
    rows = int(group_rows.sum())
    lengths = np.array(
        draw(st.lists(st.integers(0, 50), min_size=rows, max_size=rows)),
        dtype=np.int64,
    )
    settings = OrderSettings(
        seed=draw(st.integers(-3, 2**40)),
        shuffle=draw(st.booleans()),
        window=draw(st.integers(1, 60)),
        lanes=draw(st.integers(1, 5)),
        batch_size=draw(st.none() | st.integers(1, 5)),
        max_tokens=draw(st.none() | st.integers(1, 120)),
    )
    return Order(settings, group_rows, lengths)


def taken(order, place, rank, **options):
    """The rows of each unit that a rank takes in the rest of an epoch."""
    bundles = order.bundles(place.epoch, place.deals[0][0])
    units = [[unit.tolist() for unit in order.units(place.epoch, groups)] for groups in bundles]
    return [units[bundle][unit] for _, bundle, unit in order.turns(place, rank, **options)]


def shares(order, ranks, place=None, **options):
    """What each of so many ranks takes in the rest of an epoch."""
    place = (place or Place()).among(ranks)
    return [taken(order, place, rank, **options) for rank in range(ranks)]


def rows_of(units):
    return [row for unit in units for row in unit]


def units_of(order, epoch, ranks):
    """The units of a whole epoch, whoever takes them."""
    return Counter(
        tuple(unit.tolist()) for groups in order.bundles(epoch, ranks) for unit in order.units(epoch, groups)
    )


def counted(parts):
    return Counter(tuple(unit) for units in parts for unit in units)


@given(orders(), st.integers(0, 3), st.integers(1, 6))
def test_an_epoch_has_every_row_once_and_ranks_take_equally_many_units(order, epoch, ranks):
    parts = shares(order, ranks, Place(epoch=epoch))
    assert sorted(rows_of(rows_of(parts))) == list(range(order.group_rows.sum()))
    assert counted(parts) == units_of(order, epoch, ranks)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert sum(map(len, parts)) == sum(span.stop for span in order.spans(epoch, ranks))


@given(orders(), st.integers(1, 6))
def test_drop_last_gives_every_rank_the_same_number(order, ranks):
    parts = shares(order, ranks, drop_last=True)
    whole = units_of(order, 0, ranks)
    assert {len(units) for units in parts} == {whole.total() // ranks}
    assert counted(parts) <= whole


@given(orders(), st.integers(1, 3))
def test_batches_keep_their_bounds(order, ranks):
    settings = order.settings
    for unit in units_of(order, 0, ranks):
        longest = max(order.lengths[list(unit)], default=0)
        assert len(unit) <= (settings.batch_size or len(unit))
        if settings.max_tokens is not None:
            assert len(unit) == 1 or longest * len(unit) <= settings.max_tokens
        if not settings.makes_batches:
            assert len(unit) == 1


@given(orders(), st.lists(st.integers(1, 6), min_size=2, max_size=5), st.booleans(), st.data())
def test_any_ranks_any_stop_any_other_ranks(order, worlds, drop_last, data):
    """Stop after some units of every rank, go on with other numbers of ranks, again and again."""
    place, got = Place(), []
    for ranks in worlds[:-1]:
        place = place.among(ranks)
        parts = shares(order, ranks, place, drop_last=drop_last)
        steps = data.draw(st.integers(0, min(map(len, parts))))
        got += [units[:steps] for units in parts]
        place = place.after(place.steps + steps)
        again = shares(order, ranks, place, drop_last=drop_last)
        assert again == [units[steps:] for units in parts]  # the same ranks: the same order as without a stop
    place = place.among(worlds[-1])
    parts = shares(order, worlds[-1], place, drop_last=drop_last)
    whole = units_of(order, 0, place.deals[0][0])  # the first ranks that took anything
    assert counted(got + parts) <= whole
    assert max(map(len, parts)) - min(map(len, parts)) <= (not drop_last)
    assert (whole - counted(got + parts)).total() <= (worlds[-1] - 1 if drop_last else 0)
    assert len(place.deals) <= len(worlds)


@given(
    st.lists(st.integers(1, 9), max_size=9),
    st.integers(1, 5),
    st.integers(0, 50),
    st.integers(1, 4),
    st.data(),
)
def test_a_weave_goes_on_from_any_step(sizes, lanes, steps, ranks, data):
    run = [Span(number, 0, size) for number, size in enumerate(sizes)]
    whole = list(Weave(run, lanes))
    rest = Weave(run, lanes, steps)
    left = sorted((span.bundle, unit) for span in rest.left() for unit in range(span.start, span.stop))
    assert list(rest) == whole[steps:]
    assert left == sorted((bundle, unit) for _, bundle, unit in whole[steps:])
    for bundle in range(len(sizes)):  # a bundle stays on its lane, from its first unit to its last
        found = [(lane, unit) for lane, number, unit in whole if number == bundle]
        assert [unit for _, unit in found] == list(range(sizes[bundle]))
        assert len({lane for lane, _ in found}) == 1


def test_lanes_pass_in_turn():
    run = [Span(0, 0, 3), Span(1, 2, 3), Span(2, 0, 2)]
    assert list(Weave(run, 2)) == [(0, 0, 0), (1, 1, 2), (0, 0, 1), (1, 2, 0), (0, 0, 2), (1, 2, 1)]


def test_runs_are_cut_where_they_must():
    spans = [Span(0, 0, 5), Span(1, 0, 1), Span(2, 3, 4)]
    assert deal(spans, 2) == [[Span(0, 0, 4)], [Span(0, 4, 5), Span(1, 0, 1), Span(2, 3, 4)], []]
    assert deal(spans, 2, drop_last=True)[2] == [Span(2, 3, 4)]


@given(orders(), st.integers(0, 5), st.integers(1, 4))
def test_the_seed_decides(order, epoch, ranks):
    again = Order(order.settings, order.group_rows, order.lengths)
    again.bundles(epoch + 1, ranks)
    assert shares(again, ranks, Place(epoch=epoch)) == shares(order, ranks, Place(epoch=epoch))


def test_orders_differ_by_seed_and_epoch():
    groups = np.full(100, 2)
    order, other = (Order(replace(PLAIN, seed=seed), groups, np.zeros(0)) for seed in (1, 2))
    orders = [rows_of(shares(item, 1, Place(epoch=epoch))[0]) for item in (order, other) for epoch in (0, 1)]
    assert len({tuple(item) for item in orders}) == 4
    for item in orders:
        assert abs(np.corrcoef(item, range(200))[0, 1]) < 0.3


def test_this_very_order_is_promised():
    """A stored state must mean the same after an upgrade."""
    order = Order(replace(PLAIN, seed=7), np.array([3, 0, 4, 2]), np.zeros(0))
    assert rows_of(shares(order, 1, Place(epoch=3))[0]) == [0, 4, 7, 1, 3, 8, 2, 6, 5]


def test_rows_are_mixed_within_a_window():
    order = Order(replace(PLAIN, window=100, lanes=2), np.full(20, 10), np.zeros(0))
    bundles = order.bundles(0, 1)
    assert [len(groups) for groups in bundles] == [5, 5, 5, 5]
    rows = rows_of(shares(order, 1)[0])
    assert {row // 10 for row in rows[:100]} == set(np.concatenate(bundles[:2]).tolist())
    assert len({row // 10 for row in rows[:10]}) > 4


def test_without_shuffle_rows_pass_in_file_order():
    order = Order(replace(PLAIN, shuffle=False, batch_size=4), np.array([5, 5, 5]), np.zeros(0))
    assert rows_of(shares(order, 1)[0]) == list(range(15))
    assert rows_of(rows_of(shares(order, 2))) == list(range(15))


def readings(order, ranks, workers, place=None):
    """How many row groups each worker reads, by rank and worker, and how many all of them."""
    place = (place or Place()).among(ranks)
    bundles = order.bundles(place.epoch, place.deals[0][0])
    readers = [
        Counter(lane % workers for lane, _ in {turn[:2] for turn in order.turns(place, rank)})
        for rank in range(ranks)
    ]
    groups = {(rank, *turn[:2]) for rank in range(ranks) for turn in order.turns(place, rank)}
    return readers, sum(len(bundles[bundle]) for _, _, bundle in groups)


def speech(random, group_rows, **settings):
    """An order over rows with lengths of speech at 80 frames per second, in batches of 100 s."""
    lengths = (random.gamma(3.0, 4 / 3, int(np.sum(group_rows))).clip(0.5, 30) * 80).astype(np.int64)
    chosen = replace(PLAIN, window=8192, lanes=8, max_tokens=8000)
    return Order(replace(chosen, **settings), np.array(group_rows), lengths)


@pytest.mark.parametrize("rows", [30, 200, 1100])
def test_readers_open_about_as_many_row_groups_as_there_are(rows):
    """64 ranks with 8 workers each over 600 row groups, small or large."""
    order = speech(np.random.default_rng(rows), np.full(600, rows))
    _, groups = readings(order, 64, 8)
    assert 600 <= groups <= 1.2 * 600
    assert readings(order, 1, 8)[1] == 600
    steps = [len(list(order.turns(Place().among(64), rank))) for rank in range(64)]
    assert max(steps) - min(steps) <= 1


def test_row_groups_of_any_size_are_read_about_once():
    random = np.random.default_rng(0)
    order = speech(random, random.integers(1, 2000, 600))
    place = Place().among(64)
    bundles = order.bundles(0, 64)
    read = sum(
        int(order.group_rows[bundles[bundle]].sum())
        for rank in range(64)
        for bundle in {turn[1] for turn in order.turns(place, rank)}
    )
    assert read <= 1.2 * order.group_rows.sum()


def test_fewer_row_groups_than_readers():
    """Ranks still take equally many batches; each opens one row group at least, and some workers have none."""
    order = speech(np.random.default_rng(1), np.full(10, 400))
    readers, groups = readings(order, 16, 8)
    assert groups <= 10 + 15
    assert all(1 <= len(workers) <= 8 for workers in readers)
    parts = shares(order, 16)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert sorted(rows_of(rows_of(parts))) == list(range(4000))


def test_going_on_with_other_ranks_reads_what_is_left():
    order = speech(np.random.default_rng(2), np.full(600, 1100))
    place = Place().among(64)
    half = place.after(len(list(order.turns(place, 63))) // 2)
    begun = {turn[1] for rank in range(64) for turn in islice(order.turns(place, rank), half.steps)}
    through = begun - {turn[1] for rank in range(64) for turn in order.turns(half, rank)}
    _, groups = readings(order, 48, 8, half)
    bundles = order.bundles(0, 64)
    left = 600 - sum(len(bundles[bundle]) for bundle in through)
    assert groups <= left + 47 * 2 + 63 * 2  # two cuts lie in what is left: the old and the new one


def test_buckets_waste_little():
    random = np.random.default_rng(0)
    lengths = random.gamma(3, 100, 5000).astype(np.int64)
    order = Order(replace(PLAIN, window=5000, lanes=4, max_tokens=8000), np.full(25, 200), lengths)
    batches = shares(order, 1)[0]
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    assert 1 - lengths.sum() / padded < 0.05
    assert len(batches) < 1.1 * lengths.sum() / 8000 + 4


@pytest.mark.parametrize("name", ["window", "lanes", "batch_size", "max_tokens"])
def test_bad_settings(name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
        replace(PLAIN, **{name: 0})


def test_nothing_there():
    order = Order(PLAIN, np.array([0, 0]), np.zeros(0))
    assert shares(order, 2) == [[], []]
