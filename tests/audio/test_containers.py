import subprocess
import sys

import pytest

from speechtok.audio.io import AUDIO_SUFFIXES, looks_like_audio


@pytest.mark.parametrize("name", ["a.wav", "a.FLAC", "a.b.Mp3", "a.opus", "a.sph", "a.m4a", "a.raw"])
def test_a_suffix_is_enough(tmp_path, name):
    assert looks_like_audio(tmp_path / name)


@pytest.mark.parametrize("name", ["a.txt", "a.wav.json", "._a.wav", "missing", ""])
def test_other_names_are_not_audio(tmp_path, name):
    assert not looks_like_audio(tmp_path / name)


@pytest.mark.parametrize(
    "container", ["WAV", "RF64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "NIST", "W64"]
)
def test_without_a_suffix_the_first_bytes_tell(make, voice, container):
    assert looks_like_audio(make("clip", voice(0.2, 16000), format=container))


@pytest.mark.parametrize("head", [b"", b"\xff", b"\xff\xfeh\0i\0", b"hello", b"\xff\xd8\xff\xe0", bytes(64)])
def test_other_first_bytes_are_not_audio(tmp_path, head):
    (tmp_path / "clip").write_bytes(head)
    assert not looks_like_audio(tmp_path / "clip")


def test_suffixes_are_lower_case():
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in AUDIO_SUFFIXES)


def test_arrays_need_neither_soundfile_nor_soxr():
    code = (
        "import sys; sys.modules['soundfile'] = sys.modules['soxr'] = None; "
        "import speechtok.audio.io, speechtok.audio.resample"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
