import sys

import numpy as np
import pytest

from speechtok.audio.io import probe_audio, read_waveform
from speechtok.errors import AudioError

WEBM = bytes.fromhex("1a45dfa3") + bytes(100)

# Stands in for the program: 3 s of two channels at 8 kHz in an AU stream, as ffmpeg writes it.
FFMPEG = """#!{python}
import os, struct, sys, array
args = sys.argv[1:]
assert args[args.index("-i") + 1].startswith("file:")
mode = os.environ.get("FAKE", "")
probing = "-t" in args
if probing and mode != "no length":
    print("  Duration: 00:00:03.00, start: 0.000000", file=sys.stderr)
if mode == "refuse":
    print("[in#0 @ 0x5] moov atom not found\\n  indented", file=sys.stderr)
    sys.exit(183)
if mode == "cut" and not probing:
    print("[in#0/matroska,webm @ 0x5] File ended prematurely", file=sys.stderr)
out = sys.stdout.buffer
out.write(struct.pack(">4s5I", b".snd", 32, 0xFFFFFFFF, 6, 8000, 2) + bytes(8))
samples = array.array("f", (value for i in range(800 if probing else 24000) for value in (i / 32768, 0.0)))
samples.byteswap()
try:
    out.write(samples.tobytes())
    out.flush()
except BrokenPipeError:
    os._exit(1)
"""


@pytest.fixture
def webm(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ffmpeg").write_text(FFMPEG.format(python=sys.executable))
    (programs / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    path = tmp_path / "clip.webm"
    path.write_bytes(WEBM)
    return path


def test_it_is_decoded_through_a_pipe(webm):
    info = probe_audio(webm)
    assert (info.sample_rate, info.num_channels, info.num_samples) == (8000, 2, 24000)
    assert info.format == "WebM or Matroska"
    ramp = np.arange(24000) / 32768
    np.testing.assert_array_equal(read_waveform(webm, channels="first").samples, ramp.astype(np.float32))
    np.testing.assert_array_equal(read_waveform(webm).samples, (ramp / 2).astype(np.float32))
    assert len(read_waveform(webm, sample_rate=16000).samples) == 48000


def test_a_segment_is_cut_from_the_stream(webm):
    segment = read_waveform(webm, channels="first", start=1, duration=0.5).samples
    np.testing.assert_array_equal(segment * 32768, np.arange(8000, 12000))


def test_without_a_length_it_is_counted(webm, monkeypatch):
    monkeypatch.setenv("FAKE", "no length")
    assert probe_audio(webm).num_samples == 24000


@pytest.mark.parametrize(
    ("mode", "reason"), [("refuse", "moov atom not found"), ("cut", "File ended prematurely")]
)
def test_what_ffmpeg_says_is_passed_on(webm, monkeypatch, mode, reason):
    monkeypatch.setenv("FAKE", mode)
    with pytest.raises(AudioError) as caught:
        read_waveform(webm)
    assert str(caught.value) == (
        f"Cannot read '{webm}': ffmpeg cannot decode this WebM or Matroska file ({reason}); "
        "it is cut or damaged."
    )


@pytest.mark.parametrize(
    ("head", "container"),
    [
        (WEBM, "WebM or Matroska"),
        (b"\0\0\0\x1cftypM4A " + bytes(50), "MP4 or M4A"),
        (bytes.fromhex("fff14c401d9ffcdc"), "AAC"),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "ASF or WMA"),
        (b"#!AMR\n", "AMR"),
    ],
)
def test_without_ffmpeg_the_sentence_says_so(tmp_path, monkeypatch, head, container):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "clip"
    path.write_bytes(head)
    for read in (probe_audio, read_waveform):
        with pytest.raises(AudioError) as caught:
            read(path)
        assert str(caught.value) == (
            f"Cannot read '{path}': {container} files need the program ffmpeg, which is not on PATH; "
            "install ffmpeg, or convert the file to FLAC or WAV."
        )


def test_a_program_that_does_not_start(webm):
    (webm.parent / "bin" / "ffmpeg").write_text("#!/no/such/interpreter\n")
    with pytest.raises(AudioError, match=r"ffmpeg does not start \(No such file or directory\)"):
        read_waveform(webm)
