"""What the commands make of a tokenizer with an optional file and two ways to convert."""

import shutil

import numpy as np
import pytest
import soundfile

from speechtok import load_tokenizer
from speechtok.commands.convert import convert_file
from speechtok.demo.check import check_tokenizer
from tests.goldens import recipe


@pytest.fixture
def clips(tmp_path):
    paths = [tmp_path / f"{name}.wav" for name in "ab"]
    for seed, path in enumerate(paths):
        soundfile.write(path, 0.2 * recipe.speechlike(40_000, 24_000, seed=seed), 24_000, subtype="FLOAT")
    return paths


@pytest.mark.parametrize("method", [None, "swap", "redecoder"])
def test_conversion_by_a_method(checkpoint, tmp_path, clips, method) -> None:
    output, card = tmp_path / "out.wav", str(checkpoint / "small.yaml")
    convert_file(*clips, output, tokenizer=card, checkpoint=checkpoint, method=method)
    tokenizer = load_tokenizer(card, checkpoint=checkpoint)
    source, target = (tokenizer.encode(str(clip)) for clip in clips)
    want = tokenizer.convert_voice(source, target, method=method or "swap")[0].numpy()
    got, _ = soundfile.read(output, dtype="float32")
    np.testing.assert_allclose(got, np.clip(want, -1, 1), atol=1e-4)


def test_unknown_methods(checkpoint, tmp_path, clips) -> None:
    card = str(checkpoint / "small.yaml")
    with pytest.raises(ValueError, match="'small' has no conversion method 'magic'; it has: swap, redecoder"):
        convert_file(*clips, tmp_path / "out.wav", tokenizer=card, checkpoint=checkpoint, method="magic")
    with pytest.raises(ValueError, match="'dmel_16k' has no conversion method 'swap'; there is no choice"):
        convert_file(*clips, tmp_path / "out.wav", tokenizer="dmel_16k", method="swap")
    assert not (tmp_path / "out.wav").exists()


def test_check_without_the_optional_files(checkpoint, tmp_path, clips) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint / "FAcodec", folder / "FAcodec")
    lines: list[str] = []
    result = check_tokenizer(
        checkpoint / "small.yaml",
        say=lines.append,
        checkpoint=folder,
        clips=clips,
        pin=tmp_path / "small.yaml",
    )
    assert "FAcodec-redecoder/config.yml: not there, and not needed to encode and decode" in lines
    assert "FAcodec/pytorch_model.bin" in lines
    assert [file.sha256 is not None for file in result.card.files] == [True, True, False, False]
    assert any(line.startswith("  voice") for line in lines)
    load_tokenizer(tmp_path / "small.yaml", checkpoint=folder)
