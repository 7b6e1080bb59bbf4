"""Several tokenizers over one corpus, from the command to the page."""

import json
import re
from pathlib import Path

import pytest

from speechtok.audio.io import write_wav
from speechtok.cli import main
from speechtok.commands.compare import compare_tokenizers
from speechtok.commands.evaluate import EvaluationSettings
from speechtok.errors import CardError, DatasetError
from speechtok.shards.reader import TokenDataset

CARD = Path(__file__).parents[2] / "tokenizers/dmel_16k.yaml"
FAST = EvaluationSettings(measures=("stoi", "mel_distance"))


@pytest.fixture
def corpus(tmp_path, speech, monkeypatch):
    """Five recordings, and a card `dmel_coarse` with four levels."""
    cards = tmp_path / "cards"
    cards.mkdir()
    text = CARD.read_text().replace("name: dmel_16k", "name: dmel_coarse")
    text = text.replace("codebook_size: 16", "codebook_size: 4").replace("num_levels: 16", "num_levels: 4")
    (cards / "dmel_coarse.yaml").write_text(text)
    monkeypatch.setenv("SPEECHTOK_CARDS", str(cards))
    (tmp_path / "corpus").mkdir()
    for number in range(4):
        write_wav(tmp_path / f"corpus/{number}.wav", speech(1.0 + number / 4, seed=number), 16000)
    (tmp_path / "corpus/all.csv").write_text(
        "audio,text,start,duration\n0.wav,nought,,\n1.wav,one,,\n2.wav,two,,\n3.wav,three,,\n3.wav,part,0.5,1.0\n"
    )
    return tmp_path / "corpus/all.csv"


def test_figures_of_each(corpus, tmp_path):
    fine, coarse = compare_tokenizers(["dmel_16k", "dmel_coarse"], corpus, tmp_path / "out", settings=FAST)
    assert (fine.info.bitrate_bps, coarse.info.bitrate_bps) == (16000, 8000)
    assert fine.evaluation.summaries["stoi"].mean > coarse.evaluation.summaries["stoi"].mean
    assert fine.evaluation.summaries["mel_distance"].mean < coarse.evaluation.summaries["mel_distance"].mean
    for item in (fine, coarse):
        assert 0 < item.entropy_bps <= item.info.bitrate_bps
        assert item.stored_bps > 0
        assert item.encode_speed > 0
        assert item.decode_speed > 0
        assert item.failed == 0
        assert len(TokenDataset(item.dataset)) == 5
    stored = json.loads((tmp_path / "out/comparison.json").read_text())
    assert [item["tokenizer"] for item in stored] == ["dmel_16k", "dmel_coarse"]
    assert stored[0]["summaries"]["stoi"]["mean"] == fine.evaluation.summaries["stoi"].mean
    again = compare_tokenizers(["dmel_16k", "dmel_coarse"], corpus, tmp_path / "out", settings=FAST)
    assert again[0].evaluation.rows == fine.evaluation.rows


def test_a_selection_keeps_texts_and_segments(corpus, tmp_path):
    found = compare_tokenizers(["dmel_16k", "dmel_coarse"], corpus, tmp_path / "out", limit=2, settings=FAST)
    rows = list(TokenDataset(found[1].dataset))
    assert [(row["text"], round(row["duration"], 3)) for row in rows] == [("one", 1.25), ("three", 1.75)]
    with pytest.raises(DatasetError, match="holds a comparison over other utterances"):
        compare_tokenizers(["dmel_16k", "dmel_coarse"], corpus, tmp_path / "out", limit=3, settings=FAST)
    compare_tokenizers(["dmel_16k", "dmel_coarse"], corpus, tmp_path / "whole", limit=99, settings=FAST)
    assert {row["duration"] for row in TokenDataset(tmp_path / "whole/dmel_16k")} == {1.0, 1.25, 1.5, 1.75}


def test_the_command_and_its_page(corpus, tmp_path, capsys):
    arguments = [
        "dmel_16k",
        "dmel_coarse",
        "--corpus",
        corpus,
        "--output",
        tmp_path / "out",
        "--examples",
        "2",
    ]
    code = main.run(["compare", *map(str, arguments), "--measure", "stoi", "--limit", "3"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert re.search(r"^dmel_coarse: 8 kbit/s, tokenized at .* stoi 0\.\d+$", out, re.MULTILINE)
    page = (tmp_path / "out/index.html").read_text()
    assert page.count("<audio") == 2 * 3
    assert page.count("<svg") == 1
    assert "<b>8 kbit/s</b>" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("names", "options", "error", "message"),
    [
        (["dmel_16k"], {}, ValueError, "needs two tokenizers or more, each once, got dmel_16k"),
        (["dmel_16k", "dmel_16k"], {}, ValueError, "each once"),
        (["dmel_16k", "dmel_17k"], {}, CardError, "dmel_17k"),
        (
            ["dmel_16k", "dmel_coarse"],
            {"checkpoints": {"facodec": Path()}},
            ValueError,
            "checkpoint for 'facodec', which is not compared: dmel_16k, dmel_coarse",
        ),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_is_made(
    corpus, tmp_path, names, options, error, message
):
    with pytest.raises(error, match=message):
        compare_tokenizers(names, corpus, tmp_path / "out", settings=FAST, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [("facodec", "must be NAME=FOLDER"), ("facodec=nowhere", "there is no folder 'nowhere'")],
)
def test_checkpoints_of_the_command(corpus, capsys, value, message):
    assert main.run(["compare", "a", "b", "--corpus", str(corpus), "--checkpoint", value]) == 2
    assert message in capsys.readouterr().err
