"""Streams over real files: batches, workers, ranks and going on exactly, with every kind of loader."""

import copy
import json
import pickle
import warnings
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, DistributedSampler

from speechtok import TokenDataset
from speechtok.errors import DatasetError
from speechtok.shards import writer as writer_module
from speechtok.shards.order import Order
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter

ROWS = 61
SETTINGS = {"seed": 3, "window": 20, "lanes": 2, "max_tokens": 120}
"""Six bundles or so; batches of a few rows."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy_info, toy_row):
    """Two shards of row groups of five; row n has an id, and a text where n is odd."""
    root = tmp_path_factory.mktemp("stream")
    (root / "data").mkdir()
    random = np.random.default_rng(0)
    lengths = random.integers(160, 6400, ROWS).tolist()
    rows = [
        toy_row(str(n), samples, n, text=f"text {n}" if n % 2 else None) for n, samples in enumerate(lengths)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "ROW_GROUP_ROWS", 5)
        for index, part in enumerate((rows[:33], rows[33:])):
            path = root / "data" / f"train-{index:05d}-of-00002.parquet"
            with ShardWriter(path, token_schema(toy_info, {"name": "toy"}, {}), toy_info) as writer:
                for row in part:
                    writer.add(row)
    return root


@pytest.fixture(scope="module")
def dataset(folder):
    return TokenDataset(folder)


def ids(items):
    """The ids of rows or batches: one tuple each."""
    return [tuple(item["id"]) if not isinstance(item, dict) else (item["id"],) for item in items]


def everything(got):
    return sorted(name for names in got for name in names) == sorted(str(n) for n in range(ROWS))


# --- only some rows ---


def test_a_filter_is_a_dataset_of_those_rows(dataset, folder):
    few = TokenDataset(folder, filter="text is not null and num_samples > 1000")
    wanted = [row for row in dataset if row["text"] and row["num_samples"] > 1000]
    assert [row["id"] for row in few] == [row["id"] for row in wanted]
    assert len(few) == len(wanted) < ROWS
    for number in (0, 7, -1):
        assert few.tokens(number).equals(dataset.tokens(int(wanted[number]["id"])))
    assert few.column("id").to_pylist() == [row["id"] for row in wanted]
    assert pickle.loads(pickle.dumps(few))[3]["id"] == wanted[3]["id"]
    for ranks in (1, 3):
        found = [ids(few.stream(**SETTINGS, rank=rank, world_size=ranks)) for rank in range(ranks)]
        assert sorted(sum((sum(items, ()) for items in found), ())) == sorted(row["id"] for row in wanted)


def test_a_filtered_stream_goes_on_and_workers_share_it(folder):
    few = TokenDataset(folder, filter="text is not null")
    whole = ids(few.stream(**SETTINGS))
    stream = few.stream(**SETTINGS)
    taken = ids(islice(stream, 3))
    other = few.stream(**SETTINGS)
    other.load_state_dict(json.loads(json.dumps(stream.state_dict())))
    assert taken + ids(other) == whole
    assert ids(few.stream(**SETTINGS).loader(num_workers=2)) == whole


def test_the_state_of_another_filter_is_refused(dataset, folder):
    state = TokenDataset(folder, filter="text is not null").stream(**SETTINGS).state_dict()
    for place in (dataset, TokenDataset(folder, filter="text is null")):
        with pytest.raises(DatasetError, match="The state was taken with dataset"):
            place.stream(**SETTINGS).load_state_dict(state)


def test_filters_that_are_refused(folder):
    with pytest.raises(DatasetError, match=r"No row of .* is left: 'duration > 99' holds of none"):
        TokenDataset(folder, filter="duration > 99")
    with pytest.raises(DatasetError, match="has no column content to compare"):
        TokenDataset(folder, filter="len(content) > 3")


def test_a_damaged_row_behind_a_filter_is_named_by_its_number(tmp_path, toy_info, toy_row):
    path = tmp_path / "rows.parquet"
    with ShardWriter(path, token_schema(toy_info, {"name": "toy"}, {}), toy_info) as writer:
        for number in range(4):
            writer.add(toy_row(str(number), 320, number, num_samples=320 if number < 3 else 320_000_000))
    few = TokenDataset(path, filter="id >= '2'")
    with pytest.raises(DatasetError, match=r"Row 3 of .* \('3'\) has 320000000 `num_samples`"):
        few.tokens(1)


# --- what is yielded ---


def test_rows_are_those_of_the_dataset(dataset):
    by_id = {row["id"]: row for row in dataset}
    rows = list(dataset.stream(window=20))
    assert sorted(row["id"] for row in rows) == sorted(by_id)
    assert [row["id"] for row in rows] != list(by_id)
    for row in rows:
        assert row.keys() == by_id[row["id"]].keys()
        for name, value in row.items():
            assert np.array_equal(value, by_id[row["id"]][name]), name


def test_batches_are_tokens(dataset):
    index = {row["id"]: n for n, row in enumerate(dataset)}
    for batch in dataset.stream(**SETTINGS):
        expected = dataset.tokens([index[name] for name in batch["id"]])
        assert batch.tokens.equals(expected)
        assert batch["text"] == [dataset[index[name]]["text"] for name in batch["id"]]
        assert len(batch) == len(batch["id"])
        assert batch["residual"] is batch.tokens["residual"]
        assert batch["residual"].shape[2] * len(batch) <= 120
        assert batch.to("cpu").tokens.equals(batch.tokens)


def test_only_some_streams_and_columns(folder, toy_info):
    some = TokenDataset(folder, streams=["content"], columns=["id"])
    assert some.columns == ["id", "content"]
    assert list(some[0]) == ["id", "content"]
    batch = next(iter(some.stream(batch_size=4)))
    assert list(batch.tokens.streams) == ["content"]
    assert batch.tokens.info.streams == toy_info.streams[:1]
    assert list(batch.columns) == ["id"]
    assert batch.tokens.speaker_embedding is None
    every = TokenDataset(folder, streams=["residual"])
    assert "content" not in every.columns
    assert "speaker" in every.columns
    assert every.tokens(0).info.streams == toy_info.streams[1:]
    with pytest.raises(DatasetError, match="has no stream mel; it has: content, residual"):
        TokenDataset(folder, streams=["mel"])
    with pytest.raises(ValueError, match="need a stream among the columns, got none"):
        TokenDataset(folder, columns=["id"]).stream(batch_size=2)
    with pytest.raises(DatasetError, match="Tokens of 'toy' need the column 'content', which was not read"):
        TokenDataset(folder, columns=["id", "num_samples"]).tokens(0)


def test_pickled_streams_and_columns(folder):
    some = TokenDataset(folder, columns=["id", "content"])
    assert pickle.loads(pickle.dumps(some)).columns == some.columns


def test_padding_is_what_batches_hold(dataset):
    stream = dataset.stream(**SETTINGS)
    reported = stream.padding()
    count = stream.count()
    batches = list(stream)
    valid = sum(int(batch.tokens.num_frames["residual"].sum()) for batch in batches)
    total = sum(batch["residual"].shape[2] * len(batch) for batch in batches)
    assert reported == pytest.approx(1 - valid / total)
    assert count == len(batches)
    assert reported < dataset.stream(batch_size=6, window=20).padding()


def test_a_column_alone(dataset):
    assert dataset.column("id").to_pylist() == [str(n) for n in range(ROWS)]
    with pytest.raises(DatasetError, match="has no column mel"):
        dataset.column("mel")


# --- epochs ---


def test_iterating_goes_on(dataset):
    stream = dataset.stream(**SETTINGS)
    whole = ids(stream)
    assert stream.epoch == 1
    second = ids(stream)
    assert everything(whole)
    assert everything(second)
    assert whole != second
    stream.set_epoch(0)
    first = []
    for batch in stream:
        first.append(batch)
        if len(first) == 4:
            break
    stream.set_epoch(0)  # it is in this epoch: stays where it is
    assert ids(first) + ids(stream) == whole
    stream.set_epoch(1)
    assert ids(stream) == second


@pytest.mark.parametrize("place", [0, 1, 5, -1])
def test_state_is_small_plain_and_exact(dataset, place):
    stream = dataset.stream(**SETTINGS)
    whole = ids(copy.copy(stream))
    iterator, stop = iter(stream), place % len(whole)
    got = [next(iterator) for _ in range(stop)]
    state = json.loads(json.dumps(stream.state_dict()))
    assert len(json.dumps(state)) < 400
    other = dataset.stream(**SETTINGS)
    other.load_state_dict(state)
    assert ids(got) + ids(other) == whole
    assert other.epoch == 1


def test_going_on_reads_no_more_at_the_end_than_at_the_beginning(folder):
    """Row groups read and bundles ordered before the first batch after a restore, wherever the epoch stands."""
    dataset, read, planned = TokenDataset(folder), [], []
    stream = dataset.stream(**SETTINGS)
    places = [stream.state_dict()]
    places += [stream.state_dict() for _ in stream]
    read_group, units = dataset.read_group, Order.units
    dataset.read_group = lambda *arguments: read.append(arguments[0]) or read_group(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Order,
            "units",
            lambda order, epoch, groups: planned.append(groups) or units(order, epoch, groups),
        )
        for state in places[:-1]:
            read.clear(), planned.clear()
            stream.load_state_dict(state)
            batch = next(iter(stream))
            assert len(read) <= len(batch)
            assert len(planned) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 4}, "taken with seed 3, but this stream over .* has 4"),
        ({"max_tokens": 99}, "max_tokens 120"),
    ],
)
def test_states_of_other_streams(dataset, change, sentence):
    state = dataset.stream(**SETTINGS).state_dict()
    with pytest.raises(DatasetError, match=sentence):
        dataset.stream(**{**SETTINGS, **change}).load_state_dict(state)


def test_state_of_another_dataset(dataset, folder):
    state = dataset.stream().state_dict()
    part = TokenDataset(folder / "data" / "train-00000-of-00002.parquet")
    with pytest.raises(
        DatasetError, match=r"taken with dataset .* open the same dataset with the same arguments"
    ):
        part.stream().load_state_dict(state)
    with pytest.raises(DatasetError, match="taken with version nothing"):
        dataset.stream().load_state_dict({})


# --- ranks and workers ---


def shares(dataset, ranks, state=None, steps=None, workers=0, **chosen):
    """What each rank's loader hands out, and each rank's state after it."""
    got, states = [], []
    for rank in range(ranks):
        stream = dataset.stream(**{**SETTINGS, **chosen}, rank=rank, world_size=ranks)
        if state is not None:
            stream.load_state_dict(json.loads(json.dumps(state)))
        items = []
        for item in stream.loader(num_workers=workers):
            items.append(item)
            if len(items) == steps:
                break
        got.append(ids(items))
        states.append(stream.state_dict())
    return got, states


def together(*shares):
    return [names for parts in shares for part in parts for names in part]


@st.composite
def stream_settings(draw):
    """Any way of mixing and batching: single rows, batches of rows, of frames, or both."""
    max_tokens = draw(st.none() | st.integers(20, 400))
    return {
        "seed": draw(st.integers(0, 9)),
        "shuffle": draw(st.booleans()),
        "window": draw(st.sampled_from([1, 7, 20, 100])),
        "lanes": draw(st.integers(1, 4)),
        "batch_size": draw(st.none() | st.integers(1, 9)),
        "max_tokens": max_tokens,
        "count_text": draw(st.sampled_from([None, "text"])) if max_tokens else None,
    }


@settings(max_examples=20)
@given(
    chosen=stream_settings(),
    worlds=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    drop_last=st.booleans(),
    data=st.data(),
)
def test_no_row_is_lost_or_repeated(dataset, chosen, worlds, drop_last, data):
    """Stop and go on with other numbers of ranks, again and again: every row once, as many batches for each rank."""
    got, state = [], None
    for ranks in worlds:
        streams = [
            dataset.stream(**chosen, drop_last=drop_last, rank=rank, world_size=ranks)
            for rank in range(ranks)
        ]
        for stream in streams if state else ():
            stream.load_state_dict(json.loads(json.dumps(state)))
        rest = [ids(copy.copy(stream)) for stream in streams if not stream.epoch]
        if not all(rest):
            break
        steps = data.draw(st.integers(0, min(map(len, rest))))
        iterators = [iter(stream) for stream in streams]
        taken = [ids(next(iterator) for _ in range(steps)) for iterator in iterators]
        assert taken == [part[:steps] for part in rest]
        got += [names for part in taken for names in part]
        states = [stream.state_dict() for stream in streams]
        assert all(item == states[0] for item in states)
        state = states[0]
    last = dataset.stream(**chosen, drop_last=drop_last)
    if state is not None:
        last.load_state_dict(state)
    assert everything(got + ids(last))


@settings(max_examples=10)
@given(ranks=st.integers(1, 4), batch_size=st.integers(1, 9), seed=st.integers(0, 9))
def test_map_style_rows_by_samplers(dataset, ranks, batch_size, seed):
    """Samplers of torch share the rows by number: every row once but for what evens out the ranks."""
    rows = {row["id"]: row for row in dataset}

    def epoch():
        got = []
        for rank in range(ranks):
            sampler = DistributedSampler(dataset, num_replicas=ranks, rank=rank, seed=seed)
            loader = DataLoader(dataset, batch_size=batch_size, sampler=sampler, collate_fn=list)
            got += [row for batch in loader for row in batch]
        return got

    first = epoch()
    assert {row["id"] for row in first} == set(rows)
    assert len(first) == -(-ROWS // ranks) * ranks
    assert [row["id"] for row in first] == [row["id"] for row in epoch()]
    for row in first[::7]:
        assert np.array_equal(row["residual"], rows[row["id"]]["residual"])


@settings(max_examples=8)
@given(ranks=st.integers(1, 4), then=st.integers(1, 4), steps=st.integers(1, 4))
def test_ranks_share_and_may_change(dataset, ranks, then, steps):
    first, states = shares(dataset, ranks, steps=steps)
    assert all(len(part) == steps for part in first)
    assert all(state == states[0] for state in states)
    rest, ends = shares(dataset, then, state=states[-1])
    assert everything(together(first, rest))
    assert max(map(len, rest)) - min(map(len, rest)) <= 1
    assert {(state["epoch"], state["ended"]) for state in ends} == {(1, False)}
    if then == ranks:
        whole, _ = shares(dataset, ranks)
        assert [one + other for one, other in zip(first, rest, strict=True)] == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "options"),
    [
        (2, {}),
        (3, {"lanes": 3}),
        (2, {"lanes": 3}),
        (4, {}),
        (2, {"shuffle": False}),
        (2, {"count_text": "text"}),
    ],
)
def test_any_workers_hand_out_the_same(dataset, workers, options):
    """Also where workers own unequally many lanes, where there are more of them than lanes, and at the end of the epoch."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create . worker processes")
        got, states = shares(dataset, 1, steps=5, workers=workers, **options)
        rest, _ = shares(dataset, 1, state=states[0], workers=workers, **options)
    whole, _ = shares(dataset, 1, **options)
    assert got[0] + rest[0] == whole[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
def test_workers_may_change(dataset):
    whole = ids(dataset.stream(**SETTINGS))
    first, states = shares(dataset, 1, steps=5, workers=2)
    second, states = shares(dataset, 1, state=states[0], steps=3)
    assert first[0] + second[0] == whole[:8]
    rest, states = shares(dataset, 2, state=states[0], workers=3)
    assert everything(together(first, second, rest))
    assert {state["epoch"] for state in states} == {1}


def test_workers_own_row_groups(folder, monkeypatch):
    """Two ranks with two workers each, one after the other in this process: one row group or two are read twice."""
    from speechtok.shards import stream as module

    dataset, read = TokenDataset(folder), []
    read_group = dataset.read_group
    dataset.read_group = lambda *arguments: read.append(arguments[0]) or read_group(*arguments)
    got = []
    for rank in range(2):
        for worker in range(2):
            info = type("", (), {"id": worker, "num_workers": 2})
            monkeypatch.setattr(module, "get_worker_info", lambda info=info: info)
            got += ids(dataset.stream(**SETTINGS, rank=rank, world_size=2))
    assert everything(got)
    assert len(set(read)) == len(dataset.group_rows)
    assert len(read) <= len(dataset.group_rows) + 2


@pytest.mark.slow
def test_workers_that_share_nothing(dataset):
    stream = dataset.stream(**SETTINGS)
    loader = DataLoader(stream, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    assert ids(loader) == ids(stream)


@pytest.mark.slow
def test_plain_data_loader(dataset):
    stream = dataset.stream(**SETTINGS)
    loader = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="fork")
    first = ids(loader)
    assert sorted(first) == sorted(ids(dataset.stream(**SETTINGS)))
    assert ids(loader) == first  # the workers' copies move, not this one
    stream.set_epoch(1)
    assert everything(ids(loader))


def test_rows_batched_by_the_loader(dataset):
    loader = DataLoader(dataset.stream(window=20), batch_size=8, collate_fn=list)
    batches = list(loader)
    assert [len(rows) for rows in batches] == [8] * 7 + [5]
    assert everything([tuple(row["id"] for row in rows) for rows in batches])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 6, "all but one", "all"])
def test_stateful_data_loader(dataset, workers, stop):
    loaders = pytest.importorskip("torchdata.stateful_dataloader")

    def load():
        return loaders.StatefulDataLoader(dataset.stream(**SETTINGS), batch_size=None, num_workers=workers)

    whole = ids(load())
    stop = {"all but one": len(whole) - 1, "all": len(whole)}.get(stop, stop)
    loader = load()
    iterator = iter(loader)
    first = [next(iterator) for _ in range(stop)]
    state = loader.state_dict()
    again = load()
    again.load_state_dict(state)
    assert ids(first) + ids(again) == whole


@pytest.mark.slow
def test_workers_that_stay_begin_the_next_epoch(dataset):
    loader = DataLoader(dataset.stream(**SETTINGS), batch_size=None, num_workers=2, persistent_workers=True)
    first, second = ids(loader), ids(loader)
    assert everything(second)
    assert first != second


def test_a_workers_state_is_its_own(dataset, monkeypatch):
    from speechtok.shards import stream as module

    monkeypatch.setattr(module, "get_worker_info", lambda: type("", (), {"id": 1, "num_workers": 2}))
    stream = dataset.stream(**SETTINGS)
    next(iter(stream))
    state = stream.state_dict()
    monkeypatch.undo()
    with pytest.raises(
        DatasetError,
        match="belongs to rank 0 of 1, worker 1 of 2, but this is rank 0 of 1, worker 0 of 1; use the",
    ):
        dataset.stream(**SETTINGS).load_state_dict(state)


def test_drop_last(dataset):
    count = dataset.stream(**SETTINGS, rank=0, world_size=4).count()
    parts = [ids(dataset.stream(**SETTINGS, drop_last=True, rank=rank, world_size=4)) for rank in range(4)]
    assert {len(part) for part in parts} == {count // 4}
    assert len({name for part in parts for names in part for name in names}) > 0.8 * ROWS


def test_collate_in_the_loader(dataset):
    loader = dataset.stream(**SETTINGS).loader(collate_fn=len)
    assert sum(loader) == ROWS
    assert loader.stream.epoch == 1
    assert sum(loader) == ROWS
    assert loader.stream.epoch == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
@pytest.mark.parametrize("pin", [False, True])
def test_batches_of_workers_are_those_of_this_process(dataset, pin):
    here = list(dataset.stream(**SETTINGS))
    loader = dataset.stream(**SETTINGS).loader(num_workers=1, pin_memory=pin, multiprocessing_context="fork")
    for one, other in zip(loader, here, strict=True):
        assert one.tokens.equals(other.tokens)
        assert (one["id"], one["text"]) == (other["id"], other["text"])


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("persistent_workers", "leave it out, since each epoch begins with new workers"),
        ("sampler", "leave it out, since the stream decides the order"),
        ("batch_size", "give it to `TokenDataset.stream`"),
    ],
)
def test_options_that_do_not_go_with_a_loader(dataset, name, advice):
    with pytest.raises(ValueError, match=f"`{name}` does not go with a loader of tokens; {advice}"):
        dataset.stream().loader(**{name: 2})


def test_rank_by_the_environment(dataset, monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert (dataset.stream().rank, dataset.stream().world_size) == (2, 3)
    assert dataset.stream(rank=0, world_size=1).rank == 0
    with pytest.raises(ValueError, match=r"`rank` must lie in \[0, 2\), got 2"):
        dataset.stream(rank=2, world_size=2)
    with pytest.raises(ValueError, match="`rank` and `world_size` go together"):
        dataset.stream(rank=2)


def test_rank_by_the_process_group(dataset, tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    try:
        assert dataset.stream().world_size == 1
    finally:
        torch.distributed.destroy_process_group()


def test_torch_comes_with_the_stream_only(run_python, folder):
    script = "import sys; from speechtok import TokenDataset; TokenDataset(sys.argv[1])[0]; print('torch' in sys.modules)"
    assert run_python(script, folder) == "False\n"


# --- text that counts ---


def test_text_counts_beside_frames(dataset):
    """Row n has the text "text n" where n is odd, which is 6 or 7 characters."""
    hop = min(stream.hop_length for stream in dataset.info.streams)

    def length(row):
        return -(-row["num_samples"] // hop) + len(row["text"] or "")

    stream = dataset.stream(**SETTINGS, count_text="text")
    batches = list(stream)
    assert everything(ids(batches))
    rows = {row["id"]: length(row) for row in dataset}
    for batch in batches:
        longest = max(rows[name] for name in batch["id"])
        assert len(batch) == 1 or longest * len(batch) <= SETTINGS["max_tokens"]
    assert len(batches) > len(list(dataset.stream(**SETTINGS)))


def test_a_stream_that_counts_text_goes_on(dataset):
    whole = ids(dataset.stream(**SETTINGS, count_text="text"))
    stream = dataset.stream(**SETTINGS, count_text="text")
    first = ids(islice(stream, 4))
    other = dataset.stream(**SETTINGS, count_text="text")
    other.load_state_dict(json.loads(json.dumps(stream.state_dict())))
    assert first + ids(other) == whole
    with pytest.raises(DatasetError, match="taken with count_text nothing, but this stream"):
        other.load_state_dict(dataset.stream(**SETTINGS).state_dict())


def test_text_that_cannot_be_counted(dataset):
    with pytest.raises(
        ValueError, match="`count_text` must name a column of strings or lists, but 'duration' holds double"
    ):
        dataset.stream(max_tokens=100, count_text="duration")
    with pytest.raises(ValueError, match="`count_text` says what `max_tokens` counts; give both"):
        dataset.stream(count_text="text")
    with pytest.raises(DatasetError, match="has no column phones"):
        dataset.stream(max_tokens=100, count_text="phones")


@pytest.mark.parametrize("text", [None, "text"])
def test_a_row_that_is_too_long_is_refused_with_the_filter_that_helps(folder, dataset, text):
    hop = min(stream.hop_length for stream in dataset.info.streams)
    lengths = {
        row["id"]: -(-row["num_samples"] // hop) + len(row["text"] or "") * bool(text) for row in dataset
    }
    longest = max(lengths, key=lengths.get)
    settings = {**SETTINGS, "count_text": text}
    whole = dataset.stream(**settings, max_row_tokens=lengths[longest])
    assert ids(whole) == ids(dataset.stream(**settings))
    bound = sorted(lengths.values())[len(lengths) // 2]
    with pytest.raises(DatasetError) as caught:
        dataset.stream(**settings, max_row_tokens=bound)
    too_long = sum(length > bound for length in lengths.values())
    assert f"{too_long} of {len(lengths)} rows of " in str(caught.value)
    assert f"'{longest}' with {lengths[longest]}." in str(caught.value)
    condition = str(caught.value).split('filter="')[1].split('")')[0]
    kept = TokenDataset(folder, filter=condition)
    found = ids(kept.stream(**settings, max_row_tokens=bound))
    assert sorted(name for names in found for name in names) == sorted(
        name for name, length in lengths.items() if length <= bound
    )


def test_a_bound_of_no_row(dataset):
    with pytest.raises(ValueError, match="`max_row_tokens` must be at least 1, got 0"):
        dataset.stream(max_row_tokens=0)
