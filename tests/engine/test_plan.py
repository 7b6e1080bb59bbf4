import json
import math
import os
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.cards import find_card
from speechtok.corpora import read_corpus
from speechtok.engine.listing import Listing, rows_of
from speechtok.engine.looking import Lookers
from speechtok.engine.planning import Cutter, Listed, check_same, make_plan, plan_of, plan_settings
from speechtok.engine.settings import JobSettings
from speechtok.errors import DatasetError, JobError
from speechtok.shards.layout import Layout
from speechtok.shards.plan import PLAN_COLUMNS, Plan, PlanRows, ShardTask, read_plan
from speechtok.shards.writer import TABLE_GROUP_ROWS
from speechtok.tokens import with_codebooks
from speechtok.utterances import Utterance

CARD = find_card("dmel_16k")[0]
INFO = CARD.info("f00d")


@pytest.fixture(scope="module")
def planned():
    """Plan a corpus."""
    with Lookers(count=2) as lookers:

        def plan(corpus, **settings):
            return make_plan(corpus, INFO, CARD.to_dict(), JobSettings(**settings), lookers)

        yield plan


def plan_of_items(*items, **settings):
    """Return the plan of utterances, wherever they lie."""
    settings = JobSettings(**settings)
    return plan_of(listing(items, "m.csv"), settings, {"tokenizer": INFO.to_dict()})


def listing(items, name="l"):
    return Listing([rows_of([item], name, "train") for item in items], INFO)


@pytest.fixture
def corpus(tmp_path, write_corpus):
    names = {f"{n}.wav": 0.1 + 0.05 * n for n in range(12)} | {"x/bad.wav": b"no", "gone": b"fLaC"}
    return read_corpus(write_corpus(tmp_path / "corpus", names))


# --- determinism ---


def test_same_corpus_same_plan(corpus, tmp_path, planned):
    for number in range(2):
        planned(read_corpus(tmp_path / "corpus"), shard_seconds=1).write(Layout(tmp_path / str(number)))
    for name in ("plan.json", "plan.parquet"):
        assert len({(tmp_path / str(number) / ".speechtok" / name).read_bytes() for number in range(2)}) == 1


def test_plan_comes_back(corpus, tmp_path, planned):
    plan = planned(corpus, shard_seconds=1)
    plan.write(Layout(tmp_path / "out"))
    back = read_plan(Layout(tmp_path / "out"))
    assert back.rows.equals(plan.rows)
    assert back.settings == plan.settings
    assert back.info == INFO
    assert back.card == CARD.to_dict()


def test_order_and_unknown_lengths(corpus, planned):
    rows = planned(corpus).rows.to_pylist()
    assert [row["id"] for row in rows] == [item.id for item in corpus.utterances]
    lengths = {row["id"]: row["seconds"] for row in rows}
    assert lengths["x/bad.wav"] is None
    assert lengths["gone"] is None
    assert lengths["3.wav"] == pytest.approx(0.25)


def test_rows_are_in_the_order_of_the_corpus_within_a_split(tmp_path, planned):
    rows = [("b", "dev"), ("a", "train"), ("c", "dev"), ("d", None), ("0", "dev")]
    lines = [json.dumps({"audio": "no.wav", "id": name, "split": split}) + "\n" for name, split in rows]
    (tmp_path / "list.jsonl").write_text("".join(lines))
    found = planned(read_corpus(tmp_path / "list.jsonl")).rows
    assert list(zip(found["split"].to_pylist(), found["id"].to_pylist(), strict=True)) == [
        ("dev", "b"), ("dev", "c"), ("dev", "0"), ("train", "a"), ("train", "d"),
    ]  # fmt: skip


# --- shards ---


def cut(splits, seconds, target):
    """Return the shard of each utterance."""
    totals = {split: sum(v for s, v in zip(splits, seconds, strict=True) if s == split) for split in splits}
    cutters = {split: Cutter(total, target) for split, total in totals.items()}
    return [cutters[split].place("", value) for split, value in zip(splits, seconds, strict=True)]


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


def test_shards_count_within_their_split():
    items = [
        Utterance(id=f"{split}{n}", audio="no.wav", split=split) for split in ("b", "a") for n in range(2)
    ]
    plan = plan_of_items(*items)
    tasks = plan.tasks
    assert [task.name for task in tasks] == ["a-00000-of-00001", "b-00000-of-00001"]
    assert [len(task.rows) for task in tasks] == [task.num_rows for task in tasks] == [2, 2]
    assert isinstance(tasks[0], ShardTask)


def test_very_many_shards_of_one_utterance(tmp_path):
    """They keep their order, and each is read from its place, also from another row group."""
    count = TABLE_GROUP_ROWS + 3
    schema = pa.schema(PLAN_COLUMNS)
    columns = {
        "id": [str(number) for number in range(count)],
        "audio": ["a.wav"] * count,
        "start": [0.0] * count,
        "seconds": [float(number) for number in range(count)],
        "split": ["train"] * count,
        "shard": range(count),
    }
    rows = pa.table({name: pa.array(columns.get(name, [None] * count), kind) for name, kind in PLAN_COLUMNS})
    Plan.of_tables({"tokenizer": INFO.to_dict(), "card": {}}, schema, [rows]).write(Layout(tmp_path))
    plan = read_plan(Layout(tmp_path))
    assert [(task.number, task.index, task.first_row, task.num_rows) for task in plan.tasks] == [
        (number, number, number, 1) for number in range(count)
    ]
    reader = PlanRows(plan.file, ["id"])
    for number in (0, count - 1, 1, TABLE_GROUP_ROWS - 1, TABLE_GROUP_ROWS):
        assert reader.of(plan.tasks[number]).to_pylist() == [{"id": str(number)}]
        assert plan.tasks[number].seconds == number
    over = replace(plan.tasks[TABLE_GROUP_ROWS - 2], num_rows=4)
    assert reader.of(over)["id"].to_pylist() == [str(TABLE_GROUP_ROWS + step) for step in (-2, -1, 0, 1)]


def test_small_corpora_still_have_shards(tmp_path, write_corpus, planned):
    corpus = read_corpus(write_corpus(tmp_path, {f"{n}.wav": 0.1 for n in range(3)}))
    one, three = planned(corpus), planned(corpus, shard_seconds=0.1)
    assert [task.count for task in one.tasks] == [1]
    assert [len(task.rows) for task in three.tasks] == [1, 1, 1]
    assert sum(task.seconds for task in three.tasks) == pytest.approx(three.seconds)


# --- segments ---


def test_segments(tmp_path, write_corpus, planned):
    write_corpus(tmp_path, {"a.wav": 2.0})
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    (tmp_path / "segments").write_text("1 a 0.5 1.5\n2 a 1.5 -1\n3 a 1.5 10.5\n4 a 2.5 3.5\n")
    plan = planned(read_corpus(tmp_path))
    assert plan.rows["seconds"].to_pylist() == pytest.approx([1.0, 0.5, 0.5, None], nan_ok=True)
    assert list(plan.extra_types) == ["start"]


# --- columns of the corpus ---


def extra(*rows):
    return plan_of_items(*(Utterance(id=str(n), audio="no.wav", extra=row) for n, row in enumerate(rows)))


def test_columns_keep_their_types():
    plan = extra({"n": 1, "x": 1, "ok": True, "none": None, "tags": ["a"]}, {"n": None, "x": 2.5})
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
def test_reserved_columns_get_a_prefix(name):
    plan = extra({name: "mine", f"corpus_{name}": "also mine"})
    assert plan.rows[f"corpus_{name}"].to_pylist() == ["also mine"]
    assert plan.rows[f"corpus_corpus_{name}"].to_pylist() == ["mine"]


@pytest.mark.parametrize("values", [(1, "a"), (2**70, 1), ({"a": 1}, "b"), (2**60, 2.5)])
def test_mixed_columns(values):
    with pytest.raises(
        DatasetError, match="The manifest's column n mixes types or holds what Parquet cannot"
    ):
        extra(*({"n": value} for value in values))


# --- splits and settings ---


@pytest.mark.parametrize("split", ["train-clean-100", "../x", "a/b", "a b", ".a", "a..b", "a\n"])
def test_split_names(split):
    with pytest.raises(
        DatasetError, match=r"The corpus m\.csv has the split .*; a split's name may hold letters"
    ):
        plan_of_items(Utterance(id="1", audio="no.wav", split=split))
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
        ({"limit": 0}, "`limit` must be at least 1, got 0"),
        ({"sample": 1.5}, r"`sample` must be above 0 and up to 1, got 1\.5"),
    ],
)
def test_settings_out_of_range(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        JobSettings(**settings)


# --- the same job again ---


@pytest.fixture
def frozen(corpus, tmp_path):
    """Freeze what a plan is known by, and return a function that compares it with what is asked now."""
    items = list(corpus.utterances)
    settings = plan_settings(corpus, Listed.of(corpus.source), INFO, CARD.to_dict(), JobSettings())
    plan_of(listing(items), JobSettings(), settings).write(Layout(tmp_path / "out"))
    plan = read_plan(Layout(tmp_path / "out"))

    def check(folder=tmp_path / "corpus", info=INFO, **settings):
        check_same(plan, read_corpus(folder), info, CARD.to_dict(), JobSettings(**settings), "OUT")

    return check


def test_nothing_changed(frozen, tmp_path):
    frozen()
    (tmp_path / "corpus").rename(tmp_path / "moved")
    frozen(tmp_path / "moved")


def test_recordings_are_not_opened_to_compare(frozen, corpus):
    """A pipe nobody writes to would be waited for."""
    (corpus.root / "new.wav").symlink_to("nowhere")
    with pytest.raises(JobError, match=r"\(1 new, 0 gone; new: new\.wav\)"):
        frozen()
    (corpus.root / "new.wav").unlink()
    os.mkfifo(corpus.root / "new.wav")
    with pytest.raises(JobError, match=r"\(1 new, 0 gone; new: new\.wav\)"):
        frozen()


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
    (corpus.root / "0.wav").unlink()
    sentence = r"The corpus is not the one OUT was begun with \(0 new, 1 gone; gone: 0\.wav\); restore it"
    with pytest.raises(JobError, match=sentence):
        frozen()
    (corpus.root / "other.wav").write_bytes(b"x")
    with pytest.raises(JobError, match=r"\(1 new, 1 gone; new: other\.wav\)"):
        frozen()


def test_changed_files(frozen, corpus):
    (corpus.root / "0.wav").write_bytes(b"x")
    with pytest.raises(JobError, match=r"\(0 new, 0 gone; some files changed\)"):
        frozen()


def test_a_changed_list(tmp_path):
    """Of lists the content counts, of recordings the size."""
    (tmp_path / "list.csv").write_text("audio,text\na.wav,one\n")
    settings = plan_settings(*_asked(tmp_path / "list.csv"))
    plan = plan_of(listing([Utterance(id="1", audio="a")]), JobSettings(), settings)
    (tmp_path / "list.csv").write_text("audio,text\na.wav,two\n")
    corpus = read_corpus(tmp_path / "list.csv")
    with pytest.raises(JobError, match=r"begun with \(a list changed\); restore it"):
        check_same(plan, corpus, INFO, CARD.to_dict(), JobSettings(), "OUT")
    older = plan_of(
        listing([Utterance(id="1", audio="a")]),
        JobSettings(),
        {name: value for name, value in settings.items() if name != "listing"},
    )
    with pytest.raises(JobError, match="was begun by an older speechtok"):
        check_same(older, corpus, INFO, CARD.to_dict(), JobSettings(), "OUT")


def _asked(path):
    corpus = read_corpus(path)
    return corpus, Listed.of(corpus.source), INFO, CARD.to_dict(), JobSettings()


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
            lambda text: text.replace(b'"format_version": 2', b'"format_version": 3'),
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
def test_damaged_plan(corpus, tmp_path, planned, name, change, sentence):
    planned(corpus).write(Layout(tmp_path))
    path = tmp_path / ".speechtok" / name
    if change is None:
        path.unlink()
    else:
        assert change(path.read_bytes()) != path.read_bytes()
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DatasetError, match=sentence):
        read_plan(Layout(tmp_path))


def test_plan_type(corpus, planned):
    assert isinstance(planned(corpus), Plan)
