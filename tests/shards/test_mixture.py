"""Mixtures: shares that are kept, epochs without loss, and going on exactly with other ranks and workers."""

import json
import pickle
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok import TokenDataset, TokenMixture
from speechtok.errors import DatasetError
from speechtok.shards import writer as writer_module
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter

SIZES = {"a": 23, "b": 9, "c": 40}
ROWS = {"seed": 3, "window": 12, "lanes": 2}
BATCHES = {**ROWS, "max_tokens": 120}


def write(path, info, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "ROW_GROUP_ROWS", 3)
        with ShardWriter(path, token_schema(info, {"name": "toy"}, {}), info) as writer:
            for row in rows:
                writer.add(row)
    return path


@pytest.fixture(scope="module")
def datasets(tmp_path_factory, toy_info, toy_row):
    root = tmp_path_factory.mktemp("mixture")
    return {
        name: TokenDataset(
            write(
                root / f"{name}.parquet",
                toy_info,
                [toy_row(f"{name}{number}", 400 + 300 * (number % 7), number) for number in range(size)],
            )
        )
        for name, size in SIZES.items()
    }


def names(item):
    """The ids of a row or batch."""
    return [item["id"]] if isinstance(item, dict) else item["id"]


def take(mixture, steps):
    """The next items: dataset, the epoch it is in, and ids."""
    found = []
    for item in islice(mixture, steps):
        name = item["dataset"] if isinstance(item, dict) else item["dataset"][0]
        found += [(name, mixture.epochs[name], one) for one in names(item)]
    return found


def test_items_are_those_of_the_datasets(datasets):
    mixture = TokenMixture(datasets, weights={"a": 1, "b": 1, "c": 2}, **BATCHES)
    for batch in islice(mixture, 40):
        (name,) = {*batch["dataset"]}
        rows = [int(one.removeprefix(name)) for one in batch["id"]]
        assert batch.tokens.equals(datasets[name].tokens(rows))
    assert mixture.counts == {"a": 10, "b": 10, "c": 20}
    row = next(iter(TokenMixture(datasets, **ROWS)))
    assert row["id"].startswith(row["dataset"])


@given(st.lists(st.floats(0, 5).filter(lambda value: value == 0 or value > 0.01), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_shares_are_those_of_the_weights_at_any_time(datasets, weights):
    if not any(weights):
        return
    mixture = TokenMixture(datasets, weights=dict(zip(SIZES, weights, strict=True)), **ROWS)
    for number, step in enumerate(islice(mixture.steps(), 10_000), start=1):
        step.note()
        if number % 997 == 0 or number < 50:
            for name, share in mixture.weights(0).items():
                assert abs(mixture.counts[name] - share * number) <= len(SIZES)
    assert sum(mixture.counts.values()) == 10_000
    for name, share in mixture.weights(0).items():
        assert abs(mixture.counts[name] / 10_000 - share) < 0.01
        assert share > 0 or mixture.counts[name] == 0


def test_weights_change_at_a_step(datasets):
    weights = {0: {"a": 1, "b": 0, "c": 1}, 100: {"a": 0, "b": 1, "c": 1}}
    mixture = TokenMixture(datasets, weights=weights, **ROWS)
    first = Counter(item["dataset"] for item in islice(mixture, 100))
    then = Counter(item["dataset"] for item in islice(mixture, 100))
    assert first == {"a": 50, "c": 50}
    assert then == {"b": 50, "c": 50}
    assert mixture.weights(99)["a"] == mixture.weights(100)["b"] == 0.5


def test_temperature(datasets):
    seconds = {name: sum(item.column("num_samples").to_pylist()) for name, item in datasets.items()}
    plain, flat = (TokenMixture(datasets, temperature=value, **ROWS).weights(0) for value in (1.0, 1e9))
    assert plain == pytest.approx({name: value / sum(seconds.values()) for name, value in seconds.items()})
    assert flat == pytest.approx(dict.fromkeys(SIZES, 1 / 3))
    assert TokenMixture(datasets, **ROWS).weights(7) == plain
    five = TokenMixture(datasets, temperature=5, **ROWS).weights(0)
    assert five["a"] / five["b"] == pytest.approx((seconds["a"] / seconds["b"]) ** 0.2)


@given(
    st.sampled_from([ROWS, BATCHES]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 60),
    st.integers(1, 90),
    st.sampled_from([{"a": 1, "b": 1, "c": 1}, {"a": 5, "b": 1, "c": 0}, {"a": 1, "b": 3, "c": 9}]),
)
@settings(max_examples=25, deadline=None)
def test_no_row_is_lost_or_repeated_within_an_epoch(datasets, options, ranks, then, steps, more, weights):
    found, states = [], []
    for rank in range(ranks):
        mixture = TokenMixture(datasets, weights=weights, **options, rank=rank, world_size=ranks)
        found += take(mixture, steps)
        states.append(json.loads(json.dumps(mixture.state_dict())))
    assert all(state == states[0] for state in states)
    for rank in range(then):
        mixture = TokenMixture(datasets, weights=weights, **options, rank=rank, world_size=then)
        mixture.load_state_dict(states[0])
        found += take(mixture, more)
    assert len({*found}) == len(found)
    # of epochs that are through, at most the last units of which not each rank would get one are missing
    last = {name: max((epoch for one, epoch, _ in found if one == name), default=-1) for name in SIZES}
    for name, size in SIZES.items():
        for epoch in range(last[name]):
            missing = size - sum((one, at) == (name, epoch) for one, at, _ in found)
            most = max(ranks, then) - 1
            assert missing == 0 if most == 0 else options is BATCHES or missing <= most


@pytest.mark.parametrize("options", [ROWS, BATCHES])
def test_going_on_gives_the_very_items(datasets, options):
    whole = take(TokenMixture(datasets, **options), 120)
    for steps in (0, 1, 17, 60):
        before = TokenMixture(datasets, **options)
        begun = take(before, steps)
        after = TokenMixture(datasets, **options)
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        assert begun + take(after, 120 - steps) == whole
        assert begun + take(before, 120 - steps) == whole  # an iteration that was broken off goes on


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_workers_hand_out_the_same(datasets, workers):
    whole = take(TokenMixture(datasets, **BATCHES), 90)
    mixture = TokenMixture(datasets, **BATCHES)
    found = []
    for batch in islice(mixture.loader(num_workers=workers), 50):
        found += [(batch["dataset"][0], mixture.epochs[batch["dataset"][0]], one) for one in batch["id"]]
    state = mixture.state_dict()
    other = TokenMixture(datasets, **BATCHES)
    other.load_state_dict(state)
    assert found + take(other, 40) == whole
    assert sum(mixture.counts.values()) == 50


def test_other_weights_from_here_on(datasets):
    first = {"a": 1.0, "b": 1.0, "c": 1.0}
    mixture = TokenMixture(datasets, weights=first, **ROWS)
    take(mixture, 30)
    state = mixture.state_dict()
    changed = TokenMixture(datasets, weights={0: first, 30: {"a": 0, "b": 0, "c": 1}}, **ROWS)
    changed.load_state_dict(state)
    assert {name for name, _, _ in take(changed, 20)} == {"c"}
    with pytest.raises(DatasetError, match="The state was taken after 30 steps with the weights"):
        TokenMixture(datasets, weights={"a": 2, "b": 1, "c": 1}, **ROWS).load_state_dict(state)
    with pytest.raises(DatasetError, match="not one of a mixture of a, b; open the same datasets"):
        TokenMixture({name: datasets[name] for name in "ab"}, **ROWS).load_state_dict(state)
    with pytest.raises(DatasetError, match="The state was taken with seed 3"):
        TokenMixture(datasets, weights=first, **ROWS | {"seed": 4}).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"a": 1, "b": 1}}, "must name the datasets a, b, c; got a, b"),
        ({"weights": {"a": 0, "b": 0, "c": 0}}, "must be at least 0, and one of them more"),
        ({"weights": {"a": -1, "b": 1, "c": 1}}, "must be at least 0, and one of them more"),
        ({"weights": {"a": float("inf"), "b": 1, "c": 1}}, "must be at least 0, and one of them more"),
        ({"weights": {5: {"a": 1, "b": 1, "c": 1}}}, r"must begin at step 0, got \[5\]"),
        ({"weights": {}}, r"must begin at step 0, got \[\]"),
        ({"temperature": 0.0}, "`temperature` must be more than 0, got 0"),
        ({"weights": {"a": 1, "b": 1, "c": 1}, "temperature": 2.0}, "Give `weights` or `temperature`"),
    ],
)
def test_weights_that_are_none(datasets, options, message):
    with pytest.raises(ValueError, match=message):
        TokenMixture(datasets, **options)


def test_datasets_that_do_not_go_together(datasets, tmp_path, toy_info, toy_row):
    other = replace(toy_info, fingerprint="beef")
    place = write(tmp_path / "other.parquet", other, [toy_row("x", 800)])
    with pytest.raises(
        DatasetError, match=r"'other' of a mixture holds tokens of 'toy' \(beef\), and 'a' of"
    ):
        TokenMixture({**datasets, "other": TokenDataset(place)})
    few = TokenDataset(write(tmp_path / "few.parquet", toy_info, [toy_row("x", 800)]))
    with pytest.raises(DatasetError, match="'few' of a mixture has 1 batches or rows for 2 ranks"):
        TokenMixture({**datasets, "few": few}, rank=0, world_size=2)
    with pytest.raises(ValueError, match="must name at least one dataset"):
        TokenMixture({})


def test_a_collator_sees_batches_and_mixtures_travel(datasets):
    mixture = pickle.loads(pickle.dumps(TokenMixture(datasets, **BATCHES)))
    lengths = [int(value) for value in islice(mixture.loader(num_workers=2, collate_fn=longest), 9)]
    again = TokenMixture(datasets, **BATCHES)
    assert lengths == [int(longest(batch)) for batch in islice(again, 9)]


def longest(batch):
    return torch.tensor(batch["residual"].shape[2])
