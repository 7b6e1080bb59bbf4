"""wav.scp → dataset → FunCodec's files → dataset → waveform, against files FunCodec wrote."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import speechtok
from speechtok.cli.main import run
from speechtok.commands.export_tokens import export_tokens
from speechtok.commands.import_tokens import import_tokens
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError, JobError, SpeechtokError, TokensError
from speechtok.shards.layout import Layout
from speechtok.shards.verify import verify
from tests.tokenizers.funcodec.published import (
    GOLDENS,
    signal,
    write_folder,
    write_small_folder,
)

NAME = "funcodec_en_libritts_16k_nq32ds320"
EXAMPLES = GOLDENS / "example_files"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the example files were made with."""
    return write_folder(tmp_path_factory.mktemp("ds320") / "model", "encodec_nq32ds320", 12)


@pytest.fixture(scope="module")
def dataset(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "out"
    settings = JobSettings(dtype="float64")
    tokenize_corpus(
        EXAMPLES, output, tokenizer=NAME, checkpoint=published, settings=settings, run=RunSettings(workers=1)
    )
    return output


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_folder(tmp_path_factory.mktemp("small") / "model", dtype="float32")


@pytest.fixture(scope="module")
def few(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = tmp_path_factory.mktemp("corpus")
    for n in (1000, 333, 777):
        soundfile.write(corpus / f"u{n}.wav", 0.3 * signal(n, n).numpy(), 16_000, subtype="FLOAT")
    lines = [f"u{n} u{n}.wav\n" for n in (1000, 333, 777)]
    (corpus / "wav.scp").write_text("".join(lines))
    tokenize_corpus(corpus, corpus / "out", tokenizer=small, run=RunSettings(workers=1))
    return corpus / "out"


def cut(dataset: Path, output: Path, codebooks: int, published: Path) -> Path:
    settings = JobSettings(dtype="float64", num_codebooks=codebooks)
    tokenize_corpus(
        EXAMPLES, output, tokenizer=NAME, checkpoint=published, settings=settings, run=RunSettings(workers=1)
    )
    return output


def test_text_is_what_funcodec_wrote(dataset: Path, published: Path, tmp_path: Path) -> None:
    assert export_tokens(dataset, tmp_path / "q32") == 3
    wanted = (EXAMPLES / "enc_text_q32" / "codecs.txt").read_bytes()
    assert (tmp_path / "q32" / "codecs.txt").read_bytes() == wanted
    export_tokens(cut(dataset, tmp_path / "out4", 4, published), tmp_path / "q4")
    wanted = (EXAMPLES / "enc_text_q4" / "codecs.txt").read_bytes()
    assert (tmp_path / "q4" / "codecs.txt").read_bytes() == wanted
    assert sorted(path.name for path in (tmp_path / "q4").iterdir()) == [
        "codecs.txt",
        "utt2num_samples",
        "utt2scale",
    ]


def test_matrices_are_what_funcodec_wrote(dataset: Path, published: Path, tmp_path: Path) -> None:
    two = cut(dataset, tmp_path / "out2", 2, published)
    export_tokens(two, tmp_path / "ark", to="funcodec-indices")
    export_tokens(two, tmp_path / "emb", to="funcodec-embeddings", checkpoint=published)
    for folder, name in (("ark", "indices"), ("emb", "codec_emb")):
        example = EXAMPLES / "enc_ark_q2"
        assert (tmp_path / folder / f"{name}.ark").read_bytes() == (example / f"{name}.ark").read_bytes()
        written = (tmp_path / folder / f"{name}.scp").read_text()
        wanted = (example / f"{name}.scp").read_text()
        assert written == wanted.replace(f"enc_ark_q2/{name}", str(tmp_path / folder / name))


def test_foreign_text_decodes_to_the_published_waveform(published: Path, tmp_path: Path) -> None:
    heads = np.load(EXAMPLES / "decoded_wav_heads.npz")
    import_tokens(
        EXAMPLES / "enc_text_q4" / "codecs.txt", tmp_path / "out", tokenizer=NAME, checkpoint=published
    )
    tokenizer = speechtok.load_tokenizer(NAME, checkpoint=published, dtype=torch.float64)
    rows = speechtok.TokenDataset(tmp_path / "out")
    assert not rows.info.has_scale
    for index in range(3):
        with pytest.warns(UserWarning, match="at about unit level"):
            waves = {"dec_q4": tokenizer.decode(rows.tokens(index))[0]}
        with pytest.warns(UserWarning, match="at about unit level"):
            waves["dec_q2of4"] = tokenizer.decode(rows.tokens(index), bit_width=1000)[0]
        for name, wave in waves.items():
            limited = wave * min(0.99 / float(wave.abs().max()), 1.0)
            key = f"{name}.{rows[index]['id']}"
            assert len(limited) == int(heads[f"{key}.n"])
            np.testing.assert_allclose(limited[:200], heads[key][:200], rtol=0, atol=1e-6)


def test_round_trip_keeps_codes_and_level(dataset: Path, published: Path, tmp_path: Path) -> None:
    export_tokens(dataset, tmp_path / "files")
    import_tokens(tmp_path / "files" / "codecs.txt", tmp_path / "again", tokenizer=NAME, checkpoint=published)
    assert not verify(Layout(tmp_path / "again")).problems
    tokenizer = speechtok.load_tokenizer(NAME, checkpoint=published)
    first, again = speechtok.TokenDataset(dataset), speechtok.TokenDataset(tmp_path / "again")
    for index in range(3):
        assert first[index]["id"] == again[index]["id"]
        assert again.tokens(index).equals(first.tokens(index))
        assert torch.equal(tokenizer.decode(again.tokens(index)), tokenizer.decode(first.tokens(index)))


@pytest.mark.parametrize("name", ["indices.scp", "indices.ark"])
def test_round_trip_through_matrices(few: Path, small: Path, tmp_path: Path, name: str) -> None:
    export_tokens(few, tmp_path / "files", to="funcodec-indices")
    import_tokens(tmp_path / "files" / name, tmp_path / "again", tokenizer=small)
    first, again = speechtok.TokenDataset(few), speechtok.TokenDataset(tmp_path / "again")
    assert all(again.tokens(index).equals(first.tokens(index)) for index in range(3))


def test_freqcodec_frames_beyond_what_funcodec_writes(tmp_path: Path) -> None:
    folder = write_small_folder(tmp_path / "model", "freq", dtype="float32")
    soundfile.write(tmp_path / "a.wav", signal(16_000, 1).numpy(), 16_000)
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    tokenize_corpus(tmp_path / "wav.scp", tmp_path / "out", tokenizer=folder, run=RunSettings(workers=1))
    for all_frames, frames in ((False, 50), (True, 51)):
        export_tokens(tmp_path / "out", tmp_path / f"files{frames}", all_frames=all_frames)
        again = tmp_path / f"again{frames}"
        import_tokens(tmp_path / f"files{frames}" / "codecs.txt", again, tokenizer=folder)
        tokens = speechtok.TokenDataset(again).tokens(0)
        assert tokens["acoustic"].shape == (1, 4, frames)
        assert speechtok.load_tokenizer(folder).decode(tokens).shape == (1, 16_000)


def test_commands(few: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = tmp_path / "files"
    assert run(["export", str(few), str(files), "--to", "funcodec-codecs"]) == 0
    assert f"Wrote 3 utterances to {files / 'codecs.txt'}." in capsys.readouterr().out
    again = [
        "import",
        str(files / "codecs.txt"),
        str(tmp_path / "again"),
        "--tokenizer",
        str(small),
    ]
    assert run(again) == 0
    assert run(["verify", str(tmp_path / "again")]) == 0
    assert run(["export", str(tmp_path / "again"), "--to", "funcodec-indices"]) == 0
    assert (tmp_path / "again-funcodec-indices" / "indices.ark").is_file()
    capsys.readouterr()
    assert run(again) == 1
    assert "holds a token dataset already; import into another folder." in capsys.readouterr().err
    assert run(["export", str(few), str(files), "--to", "funcodec-codecs"]) == 1
    assert "exists already; export into another folder." in capsys.readouterr().err


def test_unfinished(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One shard of two is missing."""
    shutil.copytree(few, tmp_path / "partial")
    (tmp_path / "partial" / "manifest.parquet").unlink()  # as files from elsewhere
    (tmp_path / "partial" / ".speechtok" / "plan.json").unlink()
    (shard,) = (tmp_path / "partial" / "data").iterdir()
    shard.rename(shard.with_name(shard.name.replace("-of-00001", "-of-00002")))
    words = ["export", str(tmp_path / "partial"), str(tmp_path / "files"), "--to", "funcodec-codecs"]
    assert run(words) == 1
    assert "1 of 2 of split 'train' are missing" in capsys.readouterr().err
    assert run([*words, "--allow-partial"]) == 0
    assert len((tmp_path / "files" / "codecs.txt").read_text().splitlines()) == 3


BAD_LINES = {
    "out of range": (
        lambda rows: rows[1].__setitem__(0, [64] * 34),
        "holds codes from 0 to 64, outside [0, 64)",
    ),
    "negative": (lambda rows: rows[1].__setitem__(0, [-1] * 34), "holds codes from -1 to"),
    "fewer codebooks": (
        lambda rows: rows[1].pop(),
        "has 3 codebooks, but must have 4, as the lines before it",
    ),
    "more frames": (
        lambda rows: [row.append(0) for row in rows[1]],
        "has 35 frames, which do not fit the 333 samples",
    ),
    "not rectangular": (lambda rows: rows[1][0].append(0), "must hold whole numbers"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_lines_are_named(few: Path, small: Path, tmp_path: Path, case: str) -> None:
    change, sentence = BAD_LINES[case]
    export_tokens(few, tmp_path / "files")
    path = tmp_path / "files" / "codecs.txt"
    pairs = [line.split(maxsplit=1) for line in path.read_text().splitlines()]
    rows = [json.loads(text)[0] for _, text in pairs]
    change(rows)
    path.write_text(
        "".join(f"{key} {json.dumps([codes])}\n" for (key, _), codes in zip(pairs, rows, strict=True))
    )
    with pytest.raises(DatasetError) as caught:
        import_tokens(path, tmp_path / "again", tokenizer=small)
    assert str(caught.value).startswith(f"{path} line 2 ('u333') ")
    assert sentence in str(caught.value)
    assert not (tmp_path / "again").exists()


def test_other_mistakes(few: Path, small: Path, tmp_path: Path) -> None:
    def attempt(kind: type[SpeechtokError], sentence: str, tokenizer: str | Path = small) -> None:
        with pytest.raises(kind, match=sentence):
            import_tokens(path, tmp_path / "again", tokenizer=tokenizer)

    export_tokens(few, tmp_path / "files")
    path = tmp_path / "files" / "codecs.txt"
    attempt(DatasetError, "'acoustic' alone, but tokenizer 'dmel_16k' has mel", "dmel_16k")
    text = path.read_text()
    path.write_text(text + text.splitlines()[0])
    attempt(DatasetError, "line 4 .'u1000'. repeats the key of .* line 1")
    path.write_text(text)
    (tmp_path / "files" / "utt2scale").write_text("u1000 0.5\n")
    attempt(DatasetError, "line 2 .'u333'. has no line in .*utt2scale")
    path.write_text("\n")
    attempt(DatasetError, "holds no utterance")
    other = write_small_folder(tmp_path / "other", seed=9, dtype="float32")
    with pytest.raises(TokensError, match="Load the tokenizer that made them"):
        export_tokens(few, tmp_path / "emb", to="funcodec-embeddings", tokenizer=other)
    assert not list((tmp_path / "emb").iterdir())
    with pytest.raises(ValueError, match="`to` must be one of funcodec-codecs"):
        export_tokens(few, tmp_path / "x", to="mp3")


def test_a_dataset_says_which_files_made_it(few: Path, small: Path) -> None:
    rows = speechtok.TokenDataset(few)
    source = rows.card["architecture"]["source"]
    assert [(entry["path"], entry["origin"]) for entry in source] == [
        ("config.yaml", "local"),
        ("model.pth", "local"),
    ]
    for entry in source:
        assert entry["sha256"] == hashlib.sha256((small / entry["path"]).read_bytes()).hexdigest()
    assert rows.info.fingerprint == speechtok.load_tokenizer(small).fingerprint


def test_two_weights_under_one_name_do_not_mix(few: Path, small: Path, tmp_path: Path) -> None:
    other = write_small_folder(tmp_path / "other", seed=9, dtype="float32")
    rows = speechtok.TokenDataset(few)
    foreign = speechtok.load_tokenizer(other)
    assert (foreign.name, foreign.streams) == (rows.info.name, rows.info.streams)
    with pytest.raises(TokensError, match="Load the tokenizer that made them"):
        foreign.decode(rows.tokens(0))
    with pytest.raises(JobError, match="was begun with tokenizer"):
        tokenize_corpus(few.parent, few, tokenizer=other, run=RunSettings(workers=1))


@pytest.mark.parametrize("codebooks", [None, 1])
def test_segments_go_through_a_dataset(few: Path, tmp_path: Path, codebooks: int | None) -> None:
    folder = write_small_folder(tmp_path / "model", segments=(0.02, 0.25), dtype="float32")
    settings = JobSettings(num_codebooks=codebooks)
    tokenize_corpus(
        few.parent, tmp_path / "out", tokenizer=folder, settings=settings, run=RunSettings(workers=1)
    )
    assert not verify(Layout(tmp_path / "out")).problems
    tokenizer, rows = (
        speechtok.load_tokenizer(folder),
        speechtok.TokenDataset(tmp_path / "out"),
    )
    for index in range(3):
        audio, _ = soundfile.read(few.parent / rows[index]["audio"], dtype="float32")
        fresh = tokenizer.encode(audio, num_codebooks=codebooks)
        assert rows.tokens(index).equals(fresh)
        assert torch.equal(tokenizer.decode(rows.tokens(index)), tokenizer.decode(fresh))
    with pytest.raises(DatasetError, match=r"holds acoustic, level of .* 'acoustic' only"):
        export_tokens(tmp_path / "out", tmp_path / "files")
