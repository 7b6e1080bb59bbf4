import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechtok.cards import find_card, list_tokenizers, read_tokenizer_card
from speechtok.demo.check import check_tokenizer
from speechtok.errors import CheckpointError
from speechtok.hub import commit_of
from speechtok.loading import load_tokenizer, locate_files
from speechtok.storage import file_sha256
from speechtok.tokenizers.dmel.tokenizer import DMelTokenizer
from speechtok.tokenizers.units.vocoder import UnitVocoder, VocoderSettings

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = [f"ns3_facodec_{part}.bin" for part in ("encoder", "decoder", "redecoder")]


def check(name, clips, **options):
    """Check a tokenizer; return the result and all lines."""
    lines = []
    return check_tokenizer(name, say=lines.append, clips=clips, **options), lines


@pytest.fixture
def cache(tmp_path, monkeypatch, facodec):
    """The Hub's cache with the published files of FACodec."""
    repository = tmp_path / "cache" / "models--amphion--naturalspeech3_facodec"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for name in FILES:
        (snapshot / name).symlink_to(facodec / name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return snapshot


def test_a_tokenizer_without_files(speechtok, monkeypatch, clips):
    monkeypatch.setattr("speechtok.demo.check.shipped_clips", lambda: clips)
    code, out, err = speechtok("check", "dmel_16k")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("dmel_16k: Log-mel channels")
    assert lines[1] == "No files: this tokenizer has no weights."
    assert lines[2] == f"Loaded; fingerprint {load_tokenizer('dmel_16k').fingerprint}"
    assert lines[3] == "Encoded and decoded 2 clips, 1.8 s"
    assert re.match(r"  mel       7,200 codes; \d+\.\d % of codes used \(lowest .* of 4.000 bits", lines[4])
    assert re.match(
        r"  STOI      0\.\d{3} on average, 0\.\d{3} at least \([ab]\.\w+\); 1 is perfect", lines[5]
    )
    assert len(lines) == 6


@pytest.mark.parametrize("name", [name for name in list_tokenizers() if find_card(name)[0].family == "units"])
def test_units_without_a_folder(speechtok, name):
    code, out, err = speechtok("check", name)
    assert code == 1
    assert "no weights" not in out
    needed = [part for part in ("features/", "kmeans/") if part in find_card(name)[0].published]
    assert (
        f"give a checkpoint folder with {' and '.join(needed)}, as docs/families/units.md says: features/"
        in err
        or ("logmel" in name and "give a checkpoint folder with kmeans/, as" in err)
    )
    assert "Traceback" not in err


def test_the_shipped_clips_but_the_broken_one():
    result, lines = check("dmel_16k", None)
    assert "Encoded and decoded 12 clips, 44.2 s" in lines
    assert result.seconds == pytest.approx(44.2, abs=0.1)
    assert len(result.stoi) == 12
    assert min(result.stoi) > 0.9


def test_a_bar_on_the_terminal(speechtok, monkeypatch, clips):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr("speechtok.demo.check.shipped_clips", lambda: clips)
    code, out, err = speechtok("check", "dmel_16k")
    assert code == 0
    assert "Encoded and decoded 2 clips, 1.8 s" in out
    assert "Encoding and decoding" in err
    assert "2/2" in err


def test_without_pystoi(monkeypatch, clips):
    monkeypatch.setitem(sys.modules, "pystoi", None)
    result, lines = check("dmel_16k", clips[:1])
    assert result.stoi is None
    assert lines[-1].startswith("  STOI      not computed: pystoi is not installed (pip install")


def test_files_in_a_folder(facodec, clips, tmp_path):
    pin = tmp_path / "cards" / "facodec.yaml"
    result, lines = check("facodec", clips, checkpoint=facodec, pin=pin)
    for name in FILES:
        start = lines.index(name)
        assert lines[start + 1] == f"  from      {facodec}, revision not known"
        assert lines[start + 2] == f"  sha256    {file_sha256(facodec / name)}, not pinned yet"
    for stream, codes in zip(result.streams, (144, 288, 432), strict=True):
        assert stream.num_codes == codes
        assert any(line.startswith(f"  {stream.stream.name:9} {codes} codes; ") for line in lines)
    assert re.match(
        r"  voice     a\.wav in the voice of b\.flac; cosine of speaker vectors \S+ with b\.flac, \S+ with a\.wav$",
        lines[-2],
    )
    assert lines[-1] == f"Wrote the card with 3 pinned files to {pin}."
    assert list(pin.parent.iterdir()) == [pin]
    card = read_tokenizer_card(pin)
    assert card == result.card
    assert [(file.revision, file.sha256) for file in card.files] == [
        (None, file_sha256(facodec / name)) for name in FILES
    ]
    assert card.with_files(()) == find_card("facodec")[0].with_files(())
    _, again = check(pin, clips[:1], checkpoint=facodec)
    assert sum("as its card states" in line for line in again) == 3
    assert not any("voice" in line for line in again)


def test_files_of_the_hub(cache, clips, tmp_path):
    pin = tmp_path / "facodec.yml"
    _, lines = check("facodec", clips[:1], pin=pin)
    assert lines[2] == f"  from      amphion/naturalspeech3_facodec, revision {COMMIT}"
    files = read_tokenizer_card(pin).files
    assert {file.revision for file in files} == {COMMIT}
    assert {file.repository for file in files} == {"amphion/naturalspeech3_facodec"}
    card, located = locate_files(pin)
    assert card.files == files
    assert located == {name: cache / name for name in FILES}


def test_a_card_on_the_hub_names_its_repository(cache, facodec):
    card, _ = find_card("facodec")
    own = tuple(replace(file, repository=None) for file in card.files)
    card.with_files(own).write(cache / "tokenizer.yaml")
    found, files = locate_files("amphion/naturalspeech3_facodec")
    assert found.files == card.files
    assert {commit_of(path) for path in files.values()} == {COMMIT}
    assert commit_of(facodec / FILES[0]) is None


@pytest.fixture
def pinned(tmp_path, facodec):
    """A card that states another sha256 for the decoder, and the right one for the encoder."""
    card, _ = find_card("facodec")
    hashes = (file_sha256(facodec / FILES[0]), "0" * 64, None)
    files = tuple(replace(file, sha256=sha) for file, sha in zip(card.files, hashes, strict=True))
    card.with_files(files).write(tmp_path / "pinned.yaml")
    return tmp_path / "pinned.yaml"


def test_another_file_than_the_card_states(speechtok, facodec, pinned, tmp_path):
    found = file_sha256(facodec / FILES[1])
    code, out, err = speechtok(
        "check", pinned, "--checkpoint", facodec, "--pin", tmp_path / "out" / "card.yaml"
    )
    assert code == 1
    verdicts = [line.split(", ")[1] for line in out.splitlines() if line.startswith("  sha256")]
    assert verdicts == ["as its card states", f"but its card states {'0' * 64}", "not pinned yet"]
    assert err == (
        f"speechtok: {facodec / FILES[1]} has sha256 {found}, but its card states {'0' * 64}; fetch the file again.\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_missing_file(speechtok, facodec, tmp_path):
    for name in FILES[:2]:
        (tmp_path / name).symlink_to(facodec / name)
    code, out, err = speechtok("check", "facodec", "--checkpoint", tmp_path)
    assert (code, out) == (1, "")
    assert f"'facodec' needs the file {FILES[2]} in {tmp_path}, where there is none." in err


def test_a_file_that_does_not_fit(speechtok, facodec, tmp_path):
    for name in FILES:
        (tmp_path / name).symlink_to(facodec / name)
    weights = torch.load(facodec / FILES[0], weights_only=True)
    weights.pop(next(iter(weights)))
    (tmp_path / FILES[0]).unlink()
    torch.save(weights, tmp_path / FILES[0])
    code, out, err = speechtok("check", "facodec", "--checkpoint", tmp_path)
    assert code == 1
    assert "Loaded" not in out
    assert FILES[0] in err
    assert err.count("\n") == 1


def test_files_out_of_reach(speechtok, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, out, err = speechtok("check", "facodec")
    assert (code, out) == (1, "")
    assert "is not in the local cache and the Hugging Face Hub cannot be reached" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("dmel_16",), "There is no tokenizer 'dmel_16'; did you mean 'dmel_16k'"),
        (("dmel_16k", "--pin", "card.txt"), "A card's file must end in .yaml, got card.txt."),
    ],
)
def test_wrong_usage(speechtok, words, sentence):
    code, out, err = speechtok("check", *words)
    assert (code, out) == (2, "")
    assert sentence in err


@pytest.mark.parametrize("change", [lambda speech: speech * torch.nan, lambda speech: speech[:, 1:]])
def test_weights_that_make_no_speech(monkeypatch, clips, tmp_path, change):
    decode = DMelTokenizer.decode
    monkeypatch.setattr(DMelTokenizer, "decode", lambda self, tokens: change(decode(self, tokens)))
    sentence = r"'dmel_16k' loads, but makes \S+ samples of a.wav, which has 16,000, and \S+ of them are NaN"
    with pytest.raises(CheckpointError, match=sentence):
        check("dmel_16k", clips, pin=tmp_path / "card.yaml")
    assert not (tmp_path / "card.yaml").exists()


@pytest.fixture
def units(tmp_path):
    """A composition of log-mel units, without a vocoder."""
    folder = tmp_path / "units"
    (folder / "kmeans").mkdir(parents=True)
    centers = np.random.default_rng(0).normal(-9, 3, (50, 80)).astype("float32")
    np.save(folder / "kmeans" / "km.npy", centers)
    return folder


def test_a_composition_that_only_makes_tokens(speechtok, monkeypatch, clips, units):
    monkeypatch.setattr("speechtok.demo.check.shipped_clips", lambda: clips)
    code, out, err = speechtok("check", "logmel_km50", "--checkpoint", units)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1] == "kmeans/km.npy"
    assert lines[3] == f"  sha256    {file_sha256(units / 'kmeans' / 'km.npy')}, not pinned yet"
    assert lines[5] == "Encoded 2 clips, 1.8 s"
    assert re.match(r"  content   176 codes; \d+\.\d % of codes used", lines[6])
    assert lines[7] == "  speech    not checked: these files make tokens, but no speech of tokens alone"
    pin = units / "pinned.yaml"
    code, _, _ = speechtok("check", "logmel_km50", "--checkpoint", units, "--pin", pin)
    assert code == 0
    code, out, _ = speechtok("check", pin, "--checkpoint", units)
    assert code == 0
    assert "as its card states" in out


def test_a_composition_with_a_table_of_voices(clips, units):
    vocoder = UnitVocoder(
        VocoderSettings(num_units=50, channels=32, f0=None, rates=(5, 4, 2, 2, 2), kernels=(11, 8, 4, 4, 4))
    )
    (units / "vocoder").mkdir()
    torch.save({"generator": vocoder.state_dict()}, units / "vocoder" / "g_00000001")
    (units / "vocoder" / "speakers.json").write_text(json.dumps({"p225": 0, "p226": 1}))
    result, lines = check("logmel_km50", clips, checkpoint=units)
    assert "Encoded and decoded 2 clips, 1.8 s" in lines
    assert len(result.stoi) == 2
