"""Laws of the order in which rows pass: nothing lost or repeated for any readers, and a state of integers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.shards.order import Order, OrderSettings, Place, deal

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


def sequence(order, epoch=0):
    """The units of a whole epoch, in the order in which they are dealt."""
    return [
        unit.tolist() for number in range(len(order.rounds(epoch))) for unit in order.units(epoch, number)
    ]


def rows_of(units):
    return [row for unit in units for row in unit]


def dealt(order, place, ranks, workers, drop_last=False):
    """What every reader gets, as lists of (unit, own, shared), by rank and worker."""
    return {
        (rank, worker): list(
            deal(
                order,
                place,
                reader=rank + ranks * worker,
                readers=ranks * workers,
                ranks=ranks,
                drop_last=drop_last,
            )
        )
        for rank in range(ranks)
        for worker in range(workers)
    }


def of_rank(shares, rank, workers):
    """What a loader hands out: one unit of each worker in turn, until all are through."""
    left = [list(shares[rank, worker]) for worker in range(workers)]
    steps = []
    while any(left):
        steps += [units.pop(0) for units in left if units]
    return steps


@given(orders(), st.integers(0, 3))
def test_an_epoch_has_every_row_once(order, epoch):
    assert sorted(rows_of(sequence(order, epoch))) == list(range(order.group_rows.sum()))


@given(orders())
def test_batches_keep_their_bounds(order):
    settings = order.settings
    for unit in sequence(order):
        longest = max(order.lengths[unit], default=0)
        assert len(unit) <= (settings.batch_size or len(unit))
        if settings.max_tokens is not None:
            assert len(unit) == 1 or longest * len(unit) <= settings.max_tokens
        if not settings.makes_batches:
            assert len(unit) == 1


@given(orders(), st.integers(1, 4), st.integers(1, 3), st.data())
def test_any_readers_any_stop_any_other_readers(order, ranks, workers, data):
    """Stop after some units of every rank, go on with other numbers of ranks and workers, more than once."""
    whole, place, got = sequence(order), Place(), []
    for _ in range(data.draw(st.integers(1, 3))):
        shares = dealt(order, place, ranks, workers)
        steps = [of_rank(shares, rank, workers) for rank in range(ranks)]
        taken = data.draw(st.integers(0, min(len(units) for units in steps)))
        for number in range(taken):
            got += [units[number][0].tolist() for units in steps]
        if taken:
            places = [units[taken - 1][2] for units in steps]
            starts = {sum(len(order.units(0, n)) for n in range(item.round)) + item.unit for item in places}
            assert starts == {len(got)}  # every rank's state means the same
            place = data.draw(st.sampled_from(places))
        ranks, workers = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    shares = dealt(order, place, ranks, workers)
    steps = [of_rank(shares, rank, workers) for rank in range(ranks)]
    for number in range(max(map(len, steps))):
        got += [units[number][0].tolist() for units in steps if number < len(units)]
    assert got == whole  # nothing lost, nothing twice, and the same order as without a stop
    assert max(map(len, steps)) - min(map(len, steps)) <= 1


@given(orders(), st.integers(1, 4), st.integers(1, 3), st.data())
def test_a_worker_goes_on_where_it_stopped(order, ranks, workers, data):
    for (rank, worker), units in dealt(order, Place(), ranks, workers).items():
        stop = data.draw(st.integers(0, len(units)))
        place = units[stop - 1][1] if stop else Place()
        rest = list(deal(order, place, reader=rank + ranks * worker, readers=ranks * workers, ranks=ranks))
        assert [unit.tolist() for unit, _, _ in rest] == [unit.tolist() for unit, _, _ in units[stop:]]


@given(orders(), st.integers(1, 4), st.integers(1, 3), st.integers(0, 20))
def test_drop_last_gives_every_rank_the_same_number(order, ranks, workers, taken):
    whole = sequence(order)
    first = dealt(order, Place(), ranks, workers, drop_last=True)
    steps = [of_rank(first, rank, workers) for rank in range(ranks)]
    assert {len(units) for units in steps} == {len(whole) // ranks}
    got = [units[number][0].tolist() for number in range(len(steps[0])) for units in steps]
    assert got == whole[: len(got)]


@given(orders(), st.integers(0, 5))
def test_the_seed_decides(order, epoch):
    again = Order(order.settings, order.group_rows, order.lengths)
    again.rounds(epoch + 1)
    assert sequence(again, epoch) == sequence(order, epoch)


def test_orders_differ_by_seed_and_epoch():
    groups = np.full(100, 2)
    order, other = (Order(replace(PLAIN, seed=seed), groups, np.zeros(0)) for seed in (1, 2))
    orders = [rows_of(sequence(item, epoch)) for item in (order, other) for epoch in (0, 1)]
    assert len({tuple(item) for item in orders}) == 4
    for item in orders:
        assert abs(np.corrcoef(item, range(200))[0, 1]) < 0.3


def test_this_very_order_is_promised():
    """A stored state must mean the same after an upgrade."""
    order = Order(replace(PLAIN, seed=7), np.array([3, 0, 4, 2]), np.zeros(0))
    assert rows_of(sequence(order, 3)) == [0, 4, 7, 1, 3, 8, 2, 6, 5]


def test_rows_are_mixed_within_a_round():
    order = Order(replace(PLAIN, window=100, lanes=2), np.full(20, 10), np.zeros(0))
    rounds = order.rounds(0)
    assert [len(groups) for groups in rounds] == [10, 10]
    for number, groups in enumerate(rounds):
        rows = rows_of(unit.tolist() for unit in order.units(0, number))
        assert {row // 10 for row in rows} == set(groups.tolist())
        assert len({row // 10 for row in rows[:10]}) > 4


def test_without_shuffle_rows_pass_in_file_order():
    order = Order(replace(PLAIN, shuffle=False, batch_size=4), np.array([5, 5, 5]), np.zeros(0))
    assert rows_of(sequence(order)) == list(range(15))


def test_readers_that_divide_the_lanes_share_no_row_group():
    order = Order(replace(PLAIN, window=1000, lanes=4), np.full(40, 25), np.zeros(0))
    for ranks, workers in ((1, 4), (4, 1), (2, 2), (2, 1)):
        shares = dealt(order, Place(), ranks, workers)
        groups = [{int(unit[0]) // 25 for unit, _, _ in units} for units in shares.values()]
        assert sum(map(len, groups)) == 40


def test_buckets_waste_little():
    random = np.random.default_rng(0)
    lengths = random.gamma(3, 100, 5000).astype(np.int64)
    order = Order(replace(PLAIN, window=5000, lanes=4, max_tokens=8000), np.full(25, 200), lengths)
    batches = sequence(order)
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    assert 1 - lengths.sum() / padded < 0.05
    assert len(batches) < 1.1 * lengths.sum() / 8000 + 4


@pytest.mark.parametrize("name", ["window", "lanes", "batch_size", "max_tokens"])
def test_bad_settings(name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
        replace(PLAIN, **{name: 0})


def test_nothing_there():
    order = Order(PLAIN, np.array([0, 0]), np.zeros(0))
    assert sequence(order) == []
    assert list(deal(order, Place(), reader=0, readers=1, ranks=1)) == []
