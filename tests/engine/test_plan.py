import math
import random
import threading
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.audio.io import probe_audio
from speechtok.cards import find_card
from speechtok.corpora import Corpus, read_corpus
from speechtok.engine.planning import _Cutter, check_same, make_plan
from speechtok.engine.settings import JobSettings
from speechtok.errors import DatasetError, JobError
from speechtok.shards.layout import Layout
from speechtok.shards.plan import Plan, ShardTask, read_plan
from speechtok.tokens import with_codebooks
from speechtok.utterances import Utterance

CARD = find_card("dmel_16k")[0]
INFO = CARD.info("f00d")


def plan_of(corpus, **settings):
    return make_plan(corpus, INFO, CARD.to_dict(), JobSettings(**settings))


def corpus_of(folder, *utterances):
    return Corpus(kind="manifest", name="m.csv", root=folder, utterances=utterances)


@pytest.fixture
def corpus(tmp_path, write_corpus):
    names = {f"{n}.wav": 0.1 + 0.05 * n for n in range(12)} | {"x/bad.wav": b"no", "gone": b"fLaC"}
    write_corpus(tmp_path / "corpus", names)
    return read_corpus(tmp_path / "corpus")


# --- determinism ---


def test_same_corpus_same_plan(corpus, tmp_path):
    plans = []
    for seed in range(3):
        shuffled = list(corpus.utterances)
        random.Random(seed).shuffle(shuffled)
        plans.append(plan_of(replace(corpus, utterances=tuple(shuffled)), shard_seconds=1))
        plans[-1].write(Layout(tmp_path / str(seed)))
    assert plans[0].rows.equals(plans[1].rows)
    assert plans[0].settings == plans[2].settings
    for name in ("plan.json", "plan.parquet"):
        assert len({(tmp_path / str(seed) / ".speechtok" / name).read_bytes() for seed in range(3)}) == 1


def test_plan_comes_back(corpus, tmp_path):
    plan = plan_of(corpus, shard_seconds=1)
    plan.write(Layout(tmp_path / "out"))
    back = read_plan(Layout(tmp_path / "out"))
    assert back.rows.equals(plan.rows)
    assert back.settings == plan.settings
    assert back.info == INFO
    assert back.card == CARD.to_dict()


def test_order_and_unknown_lengths(corpus):
    rows = plan_of(corpus).rows.to_pylist()
    assert [row["id"] for row in rows] == sorted(item.id for item in corpus.utterances)
    lengths = {row["id"]: row["seconds"] for row in rows}
    assert lengths["x/bad.wav"] is None
    assert lengths["gone"] is None
    assert lengths["3.wav"] == pytest.approx(0.25)


# --- shards ---


def cut(splits, seconds, target):
    """Return the shard of each utterance."""
    totals = {split: sum(v for s, v in zip(splits, seconds, strict=True) if s == split) for split in splits}
    cutters = {split: _Cutter(total, target) for split, total in totals.items()}
    return [cutters[split].place(value) for split, value in zip(splits, seconds, strict=True)]


seconds = st.one_of(st.just(0.0), st.floats(0.01, 40), st.integers(1, 20).map(float))


@given(st.lists(st.lists(seconds, min_size=1, max_size=60), min_size=1, max_size=3), st.floats(0.5, 100))
def test_shards_are_balanced(splits, target):
    names = [f"s{n}" for n, lengths in enumerate(splits) for _ in lengths]
    numbers = cut(names, [value for lengths in splits for value in lengths], target)
    assert len(numbers) == len(names)
    position = 0
    for lengths in splits:
        shards = numbers[position : position + len(lengths)]
        position += len(lengths)
        assert shards[0] == 0  # numbered from 0, in order, without gaps
        assert all(b - a in (0, 1) for a, b in pairwise(shards))
        wanted = max(1, math.ceil(sum(lengths) / target))
        assert shards[-1] < wanted
        totals = Counter()
        for shard, value in zip(shards, lengths, strict=True):
            totals[shard] += value
        span = sum(lengths) / wanted
        assert max(totals.values()) <= span + max(lengths) + 1e-6
        if sum(lengths):
            assert min(totals.values()) > 0  # no shard of unreadable inputs alone


def test_equal_utterances_give_equal_shards():
    assert Counter(cut(["a"] * 100, [1.0] * 100, 10)) == dict.fromkeys(range(10), 10)


def test_shards_count_within_their_split(tmp_path):
    items = [
        Utterance(id=f"{split}{n}", audio="no.wav", split=split) for split in ("b", "a") for n in range(2)
    ]
    plan = plan_of(corpus_of(tmp_path, *items))
    tasks = plan.tasks
    assert [task.name for task in tasks] == ["a-00000-of-00001", "b-00000-of-00001"]
    assert [len(task.rows) for task in tasks] == [task.num_rows for task in tasks] == [2, 2]
    assert isinstance(tasks[0], ShardTask)


def test_small_corpora_still_have_shards(tmp_path, write_corpus):
    corpus = read_corpus(write_corpus(tmp_path, {f"{n}.wav": 0.1 for n in range(3)}))
    one, three = plan_of(corpus), plan_of(corpus, shard_seconds=0.1)
    assert [task.count for task in one.tasks] == [1]
    assert [len(task.rows) for task in three.tasks] == [1, 1, 1]
    assert sum(task.seconds for task in three.tasks) == pytest.approx(three.seconds)


@pytest.mark.parametrize("is_waiting", [False, True])
def test_headers_that_take_time_are_read_in_threads(tmp_path, write_corpus, monkeypatch, is_waiting):
    """The lengths are the same; those of files in memory are read faster without."""
    names = {f"{n:03d}.wav": 0.01 * (1 + n) for n in range(40)}
    corpus, threads = read_corpus(write_corpus(tmp_path, names)), list[int]()

    def probe(path):
        threads.append(threading.get_ident())
        return probe_audio(path)

    clock = SimpleNamespace(
        perf_counter=lambda: len(threads), thread_time=lambda: len(threads) * (1 - is_waiting)
    )
    monkeypatch.setattr("speechtok.engine.planning.time", clock)
    monkeypatch.setattr("speechtok.engine.planning.probe_audio", probe)
    assert plan_of(corpus).rows["seconds"].to_pylist() == pytest.approx(list(names.values()))
    here = threads.count(threading.get_ident())
    assert (here, len(threads)) == (16 if is_waiting else 40, 40)


# --- segments ---


def test_segments(tmp_path, write_corpus):
    write_corpus(tmp_path, {"a.wav": 2.0})
    items = [
        Utterance(id="1", audio="a.wav", start=0.5, segment_seconds=1.0),
        Utterance(id="2", audio="a.wav", start=1.5),
        Utterance(id="3", audio="a.wav", start=1.5, segment_seconds=9.0),
        Utterance(id="4", audio="a.wav", start=2.5, segment_seconds=1.0),
    ]
    probes = []
    plan = make_plan(
        corpus_of(tmp_path, *items), INFO, CARD.to_dict(), JobSettings(), on_probe=lambda: probes.append(1)
    )
    assert plan.rows["seconds"].to_pylist() == pytest.approx([1.0, 0.5, 0.5, None], nan_ok=True)
    assert len(probes) == 1  # one recording, one header
    assert list(plan.extra_types) == ["start"]


# --- columns of the corpus ---


def extra(folder, *rows):
    items = [Utterance(id=str(n), audio="no.wav", extra=row) for n, row in enumerate(rows)]
    return plan_of(corpus_of(folder, *items))


def test_columns_keep_their_types(tmp_path):
    plan = extra(tmp_path, {"n": 1, "x": 1, "ok": True, "none": None, "tags": ["a"]}, {"n": None, "x": 2.5})
    assert {name: str(kind) for name, kind in plan.extra_types.items()} == {
        "n": "int64",
        "x": "double",
        "ok": "bool",
        "none": "string",
        "tags": "list<element: string>",
    }
    assert plan.rows["x"].to_pylist() == [1.0, 2.5]


@pytest.mark.parametrize(
    "name", ["mel", "num_samples", "seconds", "shard", "source_sample_rate", "segment_seconds"]
)
def test_reserved_columns_get_a_prefix(tmp_path, name):
    plan = extra(tmp_path, {name: "mine", f"corpus_{name}": "also mine"})
    assert plan.rows[f"corpus_{name}"].to_pylist() == ["also mine"]
    assert plan.rows[f"corpus_corpus_{name}"].to_pylist() == ["mine"]


@pytest.mark.parametrize("values", [(1, "a"), (2**70, 1), ({"a": 1}, "b")])
def test_mixed_columns(tmp_path, values):
    with pytest.raises(
        DatasetError, match="The manifest's column n mixes types or holds what Parquet cannot"
    ):
        extra(tmp_path, *({"n": value} for value in values))


# --- splits and settings ---


@pytest.mark.parametrize("split", ["train-clean-100", "../x", "a/b", "a b", ".a", "a..b", "a\n"])
def test_split_names(tmp_path, split):
    with pytest.raises(
        DatasetError, match=r"The corpus m\.csv has the split .*; a split's name may hold letters"
    ):
        plan_of(corpus_of(tmp_path, Utterance(id="1", audio="no.wav", split=split)))
    with pytest.raises(
        ValueError, match="`split` may hold letters, digits, underscores and single dots, got"
    ):
        JobSettings(split=split)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"shard_seconds": 0}, "`shard_seconds` must be more than 0, got 0"),
        ({"batch_seconds": -1}, "`batch_seconds` must be more than 0"),
        ({"chunk_seconds": float("nan")}, "`chunk_seconds` must be more than 0, got nan"),
        ({"channels": "left"}, "`channels` must be one of mean, first, error, got 'left'"),
        ({"dtype": "float16"}, "`dtype` must be one of float32, float64, got 'float16'"),
        ({"num_codebooks": 0}, "`num_codebooks` must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        JobSettings(**settings)


# --- the same job again ---


@pytest.fixture
def frozen(corpus, tmp_path):
    """Freeze a plan and return a function that compares it with what is asked now."""
    plan_of(corpus).write(Layout(tmp_path / "out"))
    plan = read_plan(Layout(tmp_path / "out"))

    def check(corpus=corpus, info=INFO, **settings):
        check_same(plan, corpus, info, CARD.to_dict(), JobSettings(**settings), "OUT")

    return check


def test_nothing_changed(frozen, corpus):
    frozen()
    frozen(corpus=replace(corpus, root=corpus.root / "moved", name="moved"))


def test_another_tokenizer(frozen):
    sentence = r"OUT was begun with tokenizer 'dmel_16k' \(fingerprint f00d\), not with 'dmel_16k' \(beef\); use another"
    with pytest.raises(JobError, match=sentence):
        frozen(info=CARD.info("beef"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"shard_seconds": 5.0},
            r"begun with shard_seconds=None, not 5\.0; repeat the first command, or use another",
        ),
        ({"channels": "first"}, "begun with channels='mean', not 'first'"),
        ({"split": "dev"}, "begun with split='train', not 'dev'"),
        ({"columns": {"audio": "path"}}, r"begun with columns=\{\}, not \{'audio': 'path'\}"),
    ],
)
def test_other_settings(frozen, settings, sentence):
    with pytest.raises(JobError, match=sentence):
        frozen(**settings)


def test_other_number_of_codebooks(frozen):
    with pytest.raises(JobError, match="begun with num_codebooks=None, not 8"):
        frozen(info=with_codebooks(INFO, 8), num_codebooks=8)


def test_another_corpus(frozen, corpus):
    fewer = replace(corpus, utterances=tuple(corpus.utterances)[1:])
    with pytest.raises(
        JobError, match=r"not the one OUT was begun with \(0 new, 1 gone; gone: 0\.wav\); restore it"
    ):
        frozen(corpus=fewer)
    more = replace(corpus, utterances=(*corpus.utterances, Utterance(id="new", audio="new.wav")))
    with pytest.raises(JobError, match=r"\(1 new, 0 gone; new: new\)"):
        frozen(corpus=more)


@pytest.mark.parametrize(
    "change", [{"text": "other"}, {"speaker": "s"}, {"start": 0.5}, {"extra": {"mood": "calm"}}]
)
def test_changed_utterances(frozen, corpus, change):
    other = replace(
        corpus, utterances=(replace(next(iter(corpus.utterances)), **change), *list(corpus.utterances)[1:])
    )
    with pytest.raises(JobError, match=r"\(0 new, 0 gone; some utterances changed\)"):
        frozen(corpus=other)


def test_columns_with_nan_are_the_same(tmp_path):
    rows = [{"x": math.nan, "n": 1}, {"x": 1, "n": None}]
    items = [Utterance(id=str(n), audio="no.wav", extra=row) for n, row in enumerate(rows)]
    corpus = corpus_of(tmp_path, *items)
    plan_of(corpus).write(Layout(tmp_path / "out"))
    check_same(read_plan(Layout(tmp_path / "out")), corpus, INFO, CARD.to_dict(), JobSettings(), "OUT")
    changed = replace(corpus, utterances=(replace(items[0], extra={"x": math.nan, "n": 2}), items[1]))
    with pytest.raises(JobError, match="some utterances changed"):
        check_same(read_plan(Layout(tmp_path / "out")), changed, INFO, CARD.to_dict(), JobSettings(), "OUT")


# --- a damaged plan ---


def test_no_plan(tmp_path):
    with pytest.raises(
        DatasetError, match=r"is no token dataset made by `speechtok tokenize`: it has no \.speechtok"
    ):
        read_plan(Layout(tmp_path))


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("plan.json", lambda text: text[:-9], r"plan\.json' cannot be read as JSON"),
        ("plan.json", lambda text: b"[]", r"plan\.json is damaged: it holds no JSON object"),
        (
            "plan.json",
            lambda text: b"{}",
            r"plan\.json is damaged: its settings are not those that were frozen",
        ),
        ("plan.json", lambda text: text.replace(b'"mean"', b'"mein"'), "its settings are not those"),
        (
            "plan.json",
            lambda text: text.replace(b'"format_version": 1', b'"format_version": 2'),
            "has a newer format than this speechtok reads; upgrade speechtok",
        ),
        ("plan.parquet", lambda data: data[:-1] + b"x", r"plan\.parquet is missing or damaged"),
        (
            "plan.parquet",
            None,
            r"plan\.parquet is missing or damaged, so nothing can be said about this dataset",
        ),
    ],
)
def test_damaged_plan(corpus, tmp_path, name, change, sentence):
    plan_of(corpus).write(Layout(tmp_path))
    path = tmp_path / ".speechtok" / name
    if change is None:
        path.unlink()
    else:
        assert change(path.read_bytes()) != path.read_bytes()
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DatasetError, match=sentence):
        read_plan(Layout(tmp_path))


def test_plan_type(corpus):
    assert isinstance(plan_of(corpus), Plan)
