"""A dataset follows its corpus: the same bytes as a fresh run, and only what changed is encoded."""

import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import speechtok
from speechtok.annotations import Annotation, Column
from speechtok.cards import find_card
from speechtok.commands.tokenize import retry_quarantined, tokenize_corpus
from speechtok.commands.update import update_dataset
from speechtok.engine.batches import begins_run, make_batches, run_length
from speechtok.engine.observer import Observer
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError, JobError
from speechtok.shards.layout import Layout
from speechtok.shards.plan import read_plan
from speechtok.shards.updated import settle_update
from speechtok.shards.verify import verify
from speechtok.tokenizers.dmel.tokenizer import DMelTokenizer

SETTINGS = JobSettings(shard_seconds=4.0, file_mb=1e-6, batch_seconds=0.5)
ALONE = RunSettings(workers=1)


def fresh(corpus, output, **changes):
    return tokenize_corpus(corpus, output, settings=SETTINGS, run=ALONE, **changes)


def update(corpus, output, *others, **changes):
    return update_dataset(corpus, output, *others, run=ALONE, **changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory, write_corpus):
    """A corpus `old/c`, its dataset `out`, the corpus `new/c` that it became, and the dataset `fresh` of that."""
    folder = tmp_path_factory.mktemp("made")
    names = {f"{number:02d}.wav": 0.2 + 0.02 * (number % 5) for number in range(40)}
    corpus = write_corpus(folder / "old/c", names | {"bad.wav": b"no audio"})
    (corpus / "05.txt").write_text("before")
    fresh(corpus, folder / "out")
    later = shutil.copytree(corpus, folder / "new/c")
    write_corpus(later, {"10a.wav": 0.3, "20.wav": 0.5})
    (later / "30.wav").unlink()
    (later / "05.txt").write_text("good morning")
    fresh(later, folder / "fresh")
    return folder


@pytest.fixture
def out(made, tmp_path):
    return shutil.copytree(made / "out", tmp_path / "out")


@pytest.fixture
def corpus(made, tmp_path, request):
    """The corpus of the dataset; as it became where a test asks for `grown`."""
    name = "new" if "grown" in request.fixturenames else "old"
    return shutil.copytree(made / name / "c", tmp_path / "c")


@pytest.fixture
def grown(made, out):
    """A dataset whose corpus has a new recording, a longer one, one less, and another text; returns it and a fresh one."""
    return out, made / "fresh"


@pytest.fixture
def encoded(monkeypatch):
    """Count the utterances that are encoded."""
    counts = Counter()
    encode = DMelTokenizer.encode

    def counted(self, samples, *others, **options):
        counts["utterances"] += len(samples) if isinstance(samples, list) else 1
        return encode(self, samples, *others, **options)

    monkeypatch.setattr(DMelTokenizer, "encode", counted)
    return counts


def test_same_bytes_as_a_fresh_run(corpus, grown, hashes, account, encoded):
    out, wanted = grown
    encoded.clear()
    found = update(corpus, out)
    assert hashes(out) == hashes(wanted)
    assert verify(out).problems == ()
    rows, failed = account(out)
    assert (len(rows), failed, found.rows, found.gone) == (40, ["bad.wav"], 40, 1)
    assert found.rows - found.kept == encoded["utterances"] < 20
    assert update(corpus, out).job is None


states = st.dictionaries(st.sampled_from([f"{n:02d}.wav" for n in range(12)]), st.integers(0, 3), min_size=2)


@given(st.lists(states, min_size=2, max_size=3))
@settings(max_examples=3, derandomize=True, deadline=None, phases=[Phase.generate])
def test_any_corpus_after_any_other(tmp_path_factory, write_corpus, hashes, versions):
    """However a corpus changes, step by step, its dataset is the one of a fresh run."""
    place = tmp_path_factory.mktemp("law")
    for number, state in enumerate(versions):
        shutil.rmtree(place / "c", ignore_errors=True)
        write_corpus(place / "c", {"always.wav": 0.3})
        for name, version in state.items():
            write_corpus(place / "c", {name: 0.2 + 0.1 * version if version else b"no audio"})
        if number == 0:
            fresh(place / "c", place / "out")
        else:
            update(place / "c", place / "out")
    fresh(place / "c", place / "fresh")
    assert hashes(place / "out") == hashes(place / "fresh")


def test_into_another_folder(corpus, grown, tmp_path, hashes):
    out, wanted = grown
    before = hashes(out)
    found = update(corpus, out, tmp_path / "new")
    assert hashes(tmp_path / "new") == hashes(wanted)
    assert hashes(out) == before
    again = update(corpus, out, tmp_path / "new")
    assert (again.job.shards_made, again.rows) == (0, found.rows)
    assert hashes(tmp_path / "new") == hashes(wanted)


def test_other_texts_alone_encode_nothing(corpus, out, tmp_path, hashes, encoded):
    for number in range(7):
        (corpus / f"{number:02d}.txt").write_text(f"text {number}")
    encoded.clear()
    found = update(corpus, out)
    assert (found.kept, found.gone, encoded["utterances"]) == (40, 0, 0)
    texts = {row["id"]: row["text"] for row in speechtok.TokenDataset(out, columns=["id", "text"])}
    assert texts["03.wav"] == "text 3"
    fresh(corpus, tmp_path / "fresh")
    assert hashes(out) == hashes(tmp_path / "fresh")


def test_what_failed_is_tried_again(corpus, out, tmp_path, write_corpus, hashes):
    """Also what was good then, and is bad now."""
    write_corpus(corpus, {"bad.wav": 0.3, "11.wav": b"no audio"})
    found = update(corpus, out)
    assert dict(found.job.reasons) == {"AudioError": 1}
    fresh(corpus, tmp_path / "fresh")
    assert hashes(out) == hashes(tmp_path / "fresh")


def test_fewer_files_and_splits(tmp_path, write_corpus, hashes):
    write_corpus(tmp_path / "a", dict.fromkeys([f"{n}.wav" for n in range(30)], 0.3))
    lines = [f"a/{n}.wav,{'train' if n % 2 else 'dev'}\n" for n in range(30)]
    (tmp_path / "m.csv").write_text("audio,split\n" + "".join(lines))
    fresh(tmp_path / "m.csv", tmp_path / "out")
    (tmp_path / "m.csv").write_text("audio,split\n" + "".join(lines[1:12:2]))
    found = update(tmp_path / "m.csv", tmp_path / "out")
    assert (found.rows, found.gone) == (6, 24)
    fresh(tmp_path / "m.csv", tmp_path / "fresh")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "fresh")


# --- interruptions ---

JOB = """
import sys
from speechtok.commands.update import update_dataset
from speechtok.engine.settings import RunSettings
from speechtok.tokenizers.dmel.tokenizer import DMelTokenizer
import time
encode = DMelTokenizer.encode
def slowly(self, *given, **options):
    print("encoding", flush=True)
    time.sleep(0.2)
    return encode(self, *given, **options)
DMelTokenizer.encode = slowly
update_dataset(sys.argv[1], sys.argv[2], run=RunSettings(workers=1))
"""


def test_kill_9_while_it_encodes(corpus, grown, hashes):
    out, wanted = grown
    before = {path: path.read_bytes() for path in (out / "data").iterdir()}
    with subprocess.Popen([sys.executable, "-c", JOB, corpus, out], stdout=subprocess.PIPE) as job:
        for _ in range(3):
            assert job.stdout.readline() == b"encoding\n"
        job.send_signal(signal.SIGKILL)
    assert {path: path.read_bytes() for path in (out / "data").iterdir()} == before
    assert verify(out).problems == ()
    update(corpus, out)
    assert hashes(out) == hashes(wanted)


@pytest.mark.parametrize("step", [0, 1, 2, 5, 9, 14])
def test_stopped_while_files_are_moved(corpus, grown, hashes, monkeypatch, step):
    """Wherever that is, readers are told that the dataset is not whole, and the next call finishes it."""
    from pathlib import Path

    out, wanted = grown
    steps = iter(range(step))
    replace, unlink = Path.replace, Path.unlink

    def stopping(call):
        def perhaps(self, *given, **options):
            if (out / ".speechtok/updated").is_dir() and next(steps, None) is None:
                raise KeyboardInterrupt
            return call(self, *given, **options)

        return perhaps

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopping(replace))
        patch.setattr(Path, "unlink", stopping(unlink))
        try:
            update(corpus, out)
        except KeyboardInterrupt:
            with pytest.raises(DatasetError, match=r"An update of .*out was interrupted when its files were"):
                read_plan(Layout(out))
            if step:
                with pytest.raises(DatasetError, match="out is unfinished: it has no manifest"):
                    speechtok.TokenDataset(out)
    update(corpus, out)
    assert hashes(out) == hashes(wanted)


def test_corpus_that_changes_again(corpus, grown, tmp_path, write_corpus, hashes):
    """What an interrupted update has made is of no use then."""
    out, _ = grown

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update(corpus, out, observer=Observer(planned=stop))
    write_corpus(corpus, {"41.wav": 0.4})
    update(corpus, out)
    fresh(corpus, tmp_path / "newest")
    assert hashes(out) == hashes(tmp_path / "newest")


def test_text_of_people_stays(corpus, grown):
    out, _ = grown
    readme = out / "README.md"
    readme.write_text(readme.read_text() + "\n## Thanks\n\nTo all who spoke.\n")
    update(corpus, out)
    assert "To all who spoke." in readme.read_text()
    assert verify(out).problems == ()


# --- what is refused ---


def test_no_listing(corpus, out, tmp_path):
    Layout(out).listing.unlink()
    with pytest.raises(DatasetError, match="out cannot be updated: it does not list the files of its corpus"):
        update(corpus, out)


def test_damaged_listing(corpus, out, tmp_path):
    listing = Layout(out).listing
    pq.write_table(pq.read_table(listing).slice(1), listing)
    with pytest.raises(
        DatasetError, match=r"listing\.parquet is damaged: it lists other files than the plan"
    ):
        update(corpus, out)


def test_derived_datasets(corpus, out, tmp_path):
    speechtok.select(out, tmp_path / "some", where=["duration > 0.25"])
    with pytest.raises(DatasetError, match="or update the dataset that it was made of"):
        update(corpus, tmp_path / "some")


def test_unfinished(corpus, grown):
    out, _ = grown
    Layout(out).manifest.unlink()
    with pytest.raises(DatasetError, match="out is not finished; run its job again, and update it then"):
        update(corpus, out)


@dataclass(frozen=True, kw_only=True)
class Length(Annotation):
    name, version, needs = "length", 1, frozenset({"text"})

    def columns(self, streams):
        return (Column(name="length", type="int64", description="letters of the text"),)

    def __call__(self, row):
        return {"length": len(row.text or "")}


def test_annotated(corpus, grown, tmp_path):
    out, wanted = grown
    speechtok.annotate(out, [Length()], run=ALONE)
    with pytest.raises(
        DatasetError, match="has columns of the annotation 'length', which rows that are made"
    ):
        update(corpus, out)
    update(corpus, out, tmp_path / "new")
    rows = [pq.read_table(sorted((place / "data").iterdir())[0]) for place in (tmp_path / "new", wanted)]
    assert rows[0].equals(rows[1])


def test_another_tokenizer(corpus, grown, tmp_path):
    out, _ = grown
    card = find_card("dmel_16k")[1].read_text().replace("min_db: -90.0", "min_db: -80.0")
    (tmp_path / "card.yaml").write_text(card)
    with pytest.raises(JobError, match=r"out was made with tokenizer 'dmel_16k' \(fingerprint .*, not with"):
        update(corpus, out, tokenizer=tmp_path / "card.yaml")


def test_a_dataset_that_changes_meanwhile(corpus, grown, tmp_path):
    """Rows are taken over by their places, and their ids are looked at."""
    out, _ = grown

    def shuffle(*_):
        for path in (out / "data").iterdir():
            table = pq.read_table(path)
            pq.write_table(table.take(np.arange(len(table))[::-1]), path)

    with pytest.raises(JobError, match="out has changed meanwhile; run the same command again"):
        update(corpus, out, tmp_path / "new", observer=Observer(planned=shuffle))


def test_a_store_cannot_rename(corpus):
    speechtok_place = "memory://bucket/out"
    fresh(corpus, speechtok_place)
    with pytest.raises(JobError, match="where nothing can be renamed; update it into another place"):
        update(corpus, speechtok_place)


def test_nothing_to_settle(tmp_path):
    settle_update(Layout(tmp_path))
    assert not list(tmp_path.iterdir())


# --- runs ---

lengths = st.lists(
    st.tuples(st.integers(0, 10**6), st.floats(0.5, 25)),
    min_size=1,
    max_size=150,
    unique_by=lambda item: item[0],
)


def batches(items, run_seconds=100.0):
    rows = [{"id": str(name), "seconds": seconds} for name, seconds in sorted(items)]
    found = make_batches(rows, batch_seconds=20.0, chunk_seconds=60.0, run_seconds=run_seconds)
    assert list(chain.from_iterable(found)) == rows
    return {tuple(row["id"] for row in batch) for batch in found}


@given(lengths, st.integers(0, 10**6), st.floats(0.5, 25))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_new_utterance_changes_its_run_alone(items, name, seconds):
    known = dict(items)
    known.setdefault(name, seconds)
    before, after = batches((k, v) for k, v in known.items() if k != name), batches(known.items())
    order = sorted(known)
    place = order.index(name)
    cuts = [n for n, item in enumerate(order) if begins_run(str(item), known[item], 100.0)]
    first = max((cut for cut in cuts if cut < place), default=0)
    last = min((cut for cut in cuts if cut > place), default=len(order))
    inside = {str(item) for item in order[first:last]}
    assert {b for b in after - before if not inside.issuperset(b)} == set()
    assert {b for b in before - after if not inside.issuperset(b)} == set()


def test_length_of_runs():
    assert run_length(3600.0, 20.0) == 320.0
    assert run_length(120.0, 20.0) == 60.0
    assert run_length(60.0, 20.0) is None
    starts = [begins_run(str(number), 2.0, 100.0) for number in range(20_000)]
    assert 300 < sum(starts) < 500


def test_retry_keeps_to_the_runs(corpus, grown, write_corpus, account):
    out, _ = grown
    update(corpus, out)
    write_corpus(corpus, {"bad.wav": 0.3})
    retry_quarantined(out, run=ALONE)
    assert verify(out).problems == ()
    assert len(account(out)[0]) == 41
