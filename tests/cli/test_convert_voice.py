import inspect
from importlib import import_module

import numpy as np
import pytest
import soundfile
import torch

from speechtok import load_tokenizer
from speechtok.audio.io import read_waveform
from speechtok.commands.convert import convert_file
from speechtok.commands.encode import encode_files
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import RunSettings
from speechtok.errors import DatasetError
from speechtok.loading import FAMILIES
from speechtok.shards.reader import TokenDataset
from speechtok.tokenizers.base import SpeechTokenizer
from tests.tokenizers.units.folder import CARD, make_folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory, facodec, clips):
    """The clips as one Parquet file of FACodec tokens."""
    path = tmp_path_factory.mktemp("stored") / "tokens.parquet"
    assert all(
        isinstance(row, dict) for _, row in encode_files(clips, path, tokenizer="facodec", checkpoint=facodec)
    )
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory, clips):
    """The clips as a token dataset of dMel."""
    folder = tmp_path_factory.mktemp("plain") / "tokens"
    tokenize_corpus(clips[0].parent, folder, run=RunSettings(workers=1))
    return folder


@pytest.fixture(scope="module")
def expected(facodec, clips):
    """The first clip in the voice of the second, as the library converts it."""
    tokenizer = load_tokenizer("facodec", checkpoint=facodec)
    source, reference = (tokenizer.encode(read_waveform(clip, sample_rate=16000).samples) for clip in clips)
    converted = tokenizer.convert_voice(source, reference)[0].numpy()
    # recipe weights are loud: beyond [-1, 1] the file is clipped
    return np.clip(np.rint(converted * 32768.0), -32768, 32767).astype(np.int16)


def near(samples, expected):
    """Whether 16-bit samples are equal but for rounding: files are encoded in pieces."""
    return samples.shape == expected.shape and np.abs(samples.astype(int) - expected).max() <= 1


def test_audio_files(tmp_path, speechtok, facodec, clips, expected):
    output = tmp_path / "made" / "out.wav"
    code, out, err = speechtok(
        "convert-voice", *clips, output, "--tokenizer", "facodec", "--checkpoint", facodec
    )
    assert (code, err) == (0, "")
    assert out == f"Wrote {output}: 1.0 s, {clips[0]} in the voice of {clips[1]}.\n"
    samples, rate = soundfile.read(output, dtype="int16")
    assert rate == 16000
    assert near(samples, expected)
    assert list(output.parent.iterdir()) == [output]


def test_stored_tokens_name_their_tokenizer(tmp_path, speechtok, facodec, clips, stored, expected):
    output = tmp_path / "out.wav"
    ids = [clip.as_posix() for clip in clips]
    code, out, err = speechtok(
        *("convert-voice", stored, stored, output, "--id", ids[0], "--reference-id", ids[1]),
        *("--checkpoint", facodec),
    )
    assert (code, err) == (0, "")
    assert f"{ids[0]} in the voice of {ids[1]}." in out
    assert near(soundfile.read(output, dtype="int16")[0], expected)


def test_stored_reference_of_an_audio_file(tmp_path, facodec, clips, stored, expected):
    seconds = convert_file(
        clips[0], stored, tmp_path / "out.wav", reference_id=clips[1].as_posix(), checkpoint=facodec
    )
    assert seconds == 1.0
    assert near(soundfile.read(tmp_path / "out.wav", dtype="int16")[0], expected)


def test_a_family_that_cannot(tmp_path, speechtok, clips, plain):
    sentence = (
        "speechtok: 'dmel_16k' is of the family 'dmel', which has no voice conversion; "
        "take one of a family that has."
    )
    for words in (
        (*clips, tmp_path / "out.wav", "--tokenizer", "dmel_16k"),
        (plain, clips[1], tmp_path / "out.wav", "--id", "a.wav"),
    ):
        code, out, err = speechtok("convert-voice", *words)
        assert (code, out) == (2, "")
        assert err.startswith(sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        ({"tokenizer": None}, 2, "Name the tokenizer that converts with --tokenizer, such as facodec."),
        ({"output": "out.mp3"}, 2, "The output must be a .wav file, got "),
        ({"reference": "text.wav"}, 1, "it is not audio but text"),
        ({"source": "nothing.wav"}, 2, "does not exist"),
        ({"source": "plain"}, 1, "is no audio file; if it holds tokens, choose a row with --id ID."),
        ({"reference": "plain"}, 1, "if it holds tokens, choose a row with --reference-id ID."),
        ({"source": "plain", "id": "c.wav"}, 1, "has no row with the id 'c.wav'"),
        ({"id": "a.wav"}, 1, "a.wav cannot be read as Parquet"),
    ],
)
def test_refusals(tmp_path, speechtok, clips, plain, options, code, sentence):
    (tmp_path / "text.wav").write_text("this is not audio\n")
    places = {"plain": plain, "text.wav": tmp_path / "text.wav", "nothing.wav": tmp_path / "nothing.wav"}
    words = [
        places.get(options.get("source"), clips[0]),
        places.get(options.get("reference"), clips[1]),
        tmp_path / options.get("output", "out.wav"),
    ]
    if options.get("tokenizer", "dmel_16k"):
        words += ["--tokenizer", "dmel_16k"]
    if "id" in options:
        words += ["--id", options["id"]]
    found, out, err = speechtok("convert-voice", *words)
    assert (found, out) == (code, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_the_same_id_in_two_splits(tmp_path, plain, clips):
    folder = tmp_path / "tokens" / "data"
    folder.mkdir(parents=True)
    (shard,) = (plain / "data").glob("*.parquet")
    for split in ("train", "test"):
        (folder / f"{split}-00000-of-00001.parquet").write_bytes(shard.read_bytes())
    sentence = "holds two rows with the id 'a.wav'; choose one of its splits or files"
    with pytest.raises(DatasetError, match=sentence):
        convert_file(folder.parent, clips[1], tmp_path / "out.wav", source_id="a.wav")


def test_dmel_has_no_latents(plain):
    tokens = TokenDataset(plain).tokens(0)
    with pytest.raises(TypeError, match=r"has no latents to embed tokens in; take one of a family that has"):
        load_tokenizer("dmel_16k").embed(tokens)


def test_facodec_knows_no_speakers_by_name(facodec, stored):
    tokens = TokenDataset(stored).tokens(0)
    with pytest.raises(TypeError, match=r"'facodec' has no table of speakers; .* got 'anna'"):
        load_tokenizer("facodec", checkpoint=facodec).convert_voice(tokens, "anna")


def test_what_a_tokenizer_can_is_asked_of_its_class(facodec):
    able = load_tokenizer("facodec", checkpoint=facodec)
    assert (able.can_embed, able.can_convert_voice, able.can_stream) == (True, True, True)
    dmel = load_tokenizer("dmel_16k")
    assert (dmel.can_embed, dmel.can_convert_voice, dmel.can_stream) == (False, False, True)


def test_families_keep_the_names_of_the_arguments():
    for place in FAMILIES.values():
        module, kind = place.split(":")
        family = getattr(import_module(module), kind)
        for method in ("embed", "convert_voice"):
            names = list(inspect.signature(getattr(SpeechTokenizer, method)).parameters)
            assert list(inspect.signature(getattr(family, method)).parameters)[: len(names)] == names


def test_an_embedding_is_a_voice_too(facodec, stored):
    tokenizer, dataset = load_tokenizer("facodec", checkpoint=facodec), TokenDataset(stored)
    source, reference = dataset.tokens(0), dataset.tokens(1)
    vector = tokenizer.convert_voice(source, reference.speaker_embedding)
    assert torch.equal(vector, tokenizer.convert_voice(source, reference))


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """Options that name a unit tokenizer whose vocoder has a table of voices, p225 and p226 by name."""
    folder = make_folder(tmp_path_factory.mktemp("units"))
    card = folder / "card.yaml"
    card.write_text(CARD.format(units=20, features="hubert", rate=50.0, hop=320))
    return "--tokenizer", str(card), "--checkpoint", str(folder)


def test_a_voice_of_the_table(tmp_path, speechtok, clips, units):
    for voice, output in (
        ("p226", tmp_path / "name.wav"),
        ("1", tmp_path / "row.wav"),
        ("0", tmp_path / "other.wav"),
    ):
        code, out, err = speechtok("convert-voice", clips[0], output, "--speaker", voice, *units)
        assert (code, err) == (0, "")
        assert out == f"Wrote {output}: 1.0 s, {clips[0]} in the voice of {voice}.\n"
    name, row, other = (
        soundfile.read(tmp_path / f"{stem}.wav", dtype="int16")[0] for stem in ("name", "row", "other")
    )
    assert np.array_equal(name, row)
    assert not np.array_equal(name, other)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("out.wav", "--speaker", "p999"), "has no voice 'p999'; it has: p225, p226; rows 0 to 199."),
        (("out.wav", "--speaker", "200"), "has no voice '200'; it has: p225, p226; rows 0 to 199."),
        (
            ("out.wav",),
            "Name the voice by a REFERENCE, or with --speaker by a name of the tokenizer's table.",
        ),
        (("a.wav", "out.wav", "--speaker", "p225"), "Name the voice by a REFERENCE, or with --speaker"),
        (("a.wav", "b.wav", "out.wav"), "Give one REFERENCE, not 2."),
        (
            ("out.wav", "--speaker", "p225", "--reference-id", "a"),
            "--reference-id needs a REFERENCE that holds the row.",
        ),
    ],
)
def test_refusals_of_voices(tmp_path, speechtok, clips, units, words, sentence):
    places = {"out.wav": tmp_path / "out.wav", "a.wav": clips[0], "b.wav": clips[1]}
    code, out, err = speechtok("convert-voice", clips[0], *(places.get(word, word) for word in words), *units)
    assert (code, out) == (2, "")
    assert sentence in err
    assert list(tmp_path.iterdir()) == []


def test_no_table_of_voices(tmp_path, speechtok, clips, facodec):
    code, _, err = speechtok(
        *("convert-voice", clips[0], tmp_path / "out.wav", "--speaker", "anna"),
        *("--tokenizer", "facodec", "--checkpoint", facodec),
    )
    assert (code, err) == (2, "speechtok: 'facodec' has no voice 'anna'; it has no table of voices.\n")
