"""One corpus in every format gives the same tokens for the same ids."""

import json
import warnings
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile

from speechtok.commands.tokenize import tokenize_corpus
from speechtok.corpora import read_corpus
from speechtok.corpora.originals import corpus_folders, find_originals
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.shards.reader import TokenDataset

RECORDINGS = {"anna/1.wav": 1.2, "anna/2.flac": 0.7, "bo.wav": 2.3, "long.flac": 3.1}
TEXTS = {"anna/1.wav": "good morning", "anna/2.flac": "and you", "bo.wav": "é, yes", "long.flac": "x"}
RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_corpus):
    return write_corpus(tmp_path_factory.mktemp("audio") / "corpus", RECORDINGS)


@pytest.fixture
def rows(folder):
    return [
        {"id": name, "audio": str(folder / name), "text": TEXTS[name], "speaker": name[:2], "language": "en"}
        for name in RECORDINGS
    ]


def write_kaldi(out, folder, rows):
    out.mkdir()
    for name, key in (
        ("wav.scp", "audio"),
        ("text", "text"),
        ("utt2spk", "speaker"),
        ("utt2lang", "language"),
    ):
        (out / name).write_text("".join(f"{row['id']} {row[key]}\n" for row in rows))
    return out


def write_fairseq(out, folder, rows):
    path = out.with_suffix(".tsv")
    lines = [f"{row['id']}\t{soundfile.info(row['audio']).frames}\n" for row in rows]
    path.write_text(f"{folder}\n{''.join(lines)}")
    return path


def write_jsonl(out, folder, rows):
    path = out.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_webdataset(out, folder, rows):
    import webdataset

    out.mkdir()
    with webdataset.ShardWriter(f"{out}/%03d.tar", maxcount=3, verbose=0) as sink:
        for row in rows:
            audio = folder / row["id"]
            described = {name: row[name] for name in ("speaker", "language")} | {"name": row["id"]}
            key = row["id"].rpartition(".")[0]
            sink.write(
                {
                    "__key__": key,
                    audio.suffix[1:]: audio.read_bytes(),
                    "json": described,
                    "txt": row["text"],
                }
            )
    return out


def write_lhotse_cuts(out, folder, rows):
    path = out.with_suffix(".jsonl.gz")
    cuts, _, _ = lhotse_sets(rows)
    cuts.to_file(path)
    return path


def write_lhotse_recordings(out, folder, rows):
    out.mkdir()
    _, recordings, supervisions = lhotse_sets(rows)
    recordings.to_file(out / "all_recordings_train.jsonl.gz")
    supervisions.to_file(out / "all_supervisions_train.jsonl.gz")
    return out / "all_recordings_train.jsonl.gz"


def lhotse_sets(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lhotse's own
        from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet

    recordings = RecordingSet.from_recordings(
        Recording.from_file(row["audio"], recording_id=row["id"]) for row in rows
    )
    supervisions = SupervisionSet.from_segments(
        SupervisionSegment(
            id=row["id"],
            recording_id=row["id"],
            start=0,
            duration=recordings[row["id"]].duration,
            **{name: row[name] for name in ("text", "speaker", "language")},
        )
        for row in rows
    )
    cuts = CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    return cuts.map(lambda cut: cut.with_id(cut.recording_id)).to_eager(), recordings, supervisions


def hugging_face(rows):
    from datasets import Audio, Dataset

    return Dataset.from_list(rows).cast_column("audio", Audio(decode=False))


def embedded(rows):
    from datasets import Audio, Dataset

    cells = [row | {"audio": {"bytes": Path(row["audio"]).read_bytes(), "path": None}} for row in rows]
    return Dataset.from_list(cells).cast_column("audio", Audio(decode=False))


def write_saved(out, folder, rows):
    embedded(rows).save_to_disk(out, num_shards=2)
    return out


def write_saved_paths(out, folder, rows):
    hugging_face(rows).save_to_disk(out)
    return out


def write_dict(out, folder, rows):
    from datasets import DatasetDict

    DatasetDict({"train": embedded(rows)}).save_to_disk(out)
    return out


def write_parquet(out, folder, rows):
    path = out.with_suffix(".parquet")
    embedded(rows).to_parquet(path, batch_size=2)
    return path


def write_parquet_shards(out, folder, rows):
    (out / "data").mkdir(parents=True)
    dataset = embedded(rows)
    for number in range(2):
        dataset.shard(2, number).to_parquet(out / "data" / f"train-{number:05d}-of-00002.parquet")
    return out


WRITERS = {
    "kaldi": write_kaldi,
    "fairseq": write_fairseq,
    "manifest": write_jsonl,
    "webdataset": write_webdataset,
    "lhotse": write_lhotse_cuts,
    "lhotse recordings": write_lhotse_recordings,
    "hugging_face": write_saved,
    "hugging_face paths": write_saved_paths,
    "hugging_face dict": write_dict,
    "hugging_face parquet": write_parquet,
    "hugging_face shards": write_parquet_shards,
}
SETTINGS = JobSettings(chunk_seconds=2.0)


def tokenized(corpus, out, columns=None):
    settings = JobSettings(chunk_seconds=2.0, columns=columns or {})
    report = tokenize_corpus(corpus, out, settings=settings, run=RunSettings(workers=1))
    assert report.quarantined == 0
    return {row["id"]: row for row in TokenDataset(out)}


@pytest.fixture(scope="module")
def expected(folder, tmp_path_factory):
    return tokenized(folder, tmp_path_factory.mktemp("expected") / "tokens")


@pytest.mark.parametrize("name", WRITERS)
def test_same_tokens_for_the_same_ids(name, folder, rows, expected, tmp_path, recwarn):
    corpus = WRITERS[name](tmp_path / "corpus", folder, rows)
    recwarn.clear()
    assert read_corpus(corpus).kind == name.split()[0]
    columns = {"id": "name"} if name == "webdataset" else {}
    found = tokenized(corpus, tmp_path / "tokens", columns)
    assert list(found) == list(expected) == sorted(RECORDINGS)
    originals = find_originals(tmp_path / "tokens", *corpus_folders(corpus))
    for key, row in found.items():
        assert (row["mel"] == expected[key]["mel"]).all()
        assert row["num_samples"] == expected[key]["num_samples"]
        assert len(originals.read(key, row["audio"], 16000, row["num_samples"])) == row["num_samples"]
        if name != "fairseq":
            assert (row["text"], row["speaker"], row["language"]) == (TEXTS[key], key[:2], "en")


def test_the_audio_column_finds_the_recording_again(folder, rows, expected, tmp_path):
    """A dataset's `audio` can be tokenized again, wherever the recordings lie."""
    tars = write_webdataset(tmp_path / "tars", folder, rows)
    tokenized(tars, tmp_path / "tokens", {"id": "name"})
    table = pq.read_table(next((tmp_path / "tokens" / "data").iterdir()), columns=["id", "audio", "text"])
    pq.write_table(table, tars / "again.parquet")
    again = tokenized(tars / "again.parquet", tmp_path / "again")
    assert all((row["mel"] == expected[key]["mel"]).all() for key, row in again.items())


def upload(folder, store):
    for path in folder.rglob("*"):
        if path.is_file():
            (store / path.relative_to(folder).as_posix()).put(path.read_bytes())


@pytest.mark.parametrize("name", ["webdataset", "hugging_face", "hugging_face shards"])
def test_same_tokens_from_an_object_store(name, folder, rows, expected, tmp_path, s3):
    upload(WRITERS[name](tmp_path / "corpus", folder, rows), s3 / "corpus")
    columns = {"id": "name"} if name == "webdataset" else {}
    found = tokenized(s3 / "corpus", tmp_path / "tokens", columns)
    assert list(found) == list(expected)
    assert all((row["mel"] == expected[key]["mel"]).all() for key, row in found.items())


def test_a_well_known_corpus_in_an_object_store(miniature, s3):
    root = miniature("librispeech")
    upload(root, s3 / "LibriSpeech")
    found, here = read_corpus(s3 / "LibriSpeech"), read_corpus(root)
    assert found.kind == "librispeech"
    assert list(found.utterances) == list(here.utterances)
