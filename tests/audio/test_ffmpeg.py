import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from speechtok.audio import ffmpeg
from speechtok.audio.containers import container_of, needs_ffmpeg
from speechtok.audio.io import probe_audio, read_waveform
from speechtok.errors import AudioError

WEBM = bytes.fromhex("1a45dfa3") + bytes(100)

# Stands in for the program: 3 s of two channels at 8 kHz in an AU stream, as ffmpeg writes it.
FFMPEG = """#!{python}
import os, struct, sys, array
args = sys.argv[1:]
assert args[args.index("-i") + 1].startswith("file:")
assert args[args.index("-i") - 2 : args.index("-i")] == ["-f", "matroska"]  # whatever else the file may be
assert args[args.index("-protocol_whitelist") + 1] == "file,pipe"
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
if mode == "longer" and not probing:
    out.write(struct.pack(">4s5I", b".snd", 32, 0xFFFFFFFF, 6, 8000, 2) + bytes(8) + bytes(8 * 3000))
elif mode != "channels":
    out.write(struct.pack(">4s5I", b".snd", 32, 0xFFFFFFFF, 6, 8000, 2) + bytes(8))
if mode == "hang" or mode == "hang later" and not probing:
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open(os.environ["FAKE_PID"], "w").write(str(child.pid))
    out.flush()
    child.wait(timeout=60)
if mode == "channels":
    out.write(struct.pack(">4s5I", b".snd", 32, 0xFFFFFFFF, 6, 8000, 0xFFFFFFFF) + bytes(8))
    sys.exit()
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


@pytest.mark.parametrize("mode", ["hang", "hang later"])
def test_a_program_that_hangs(webm, monkeypatch, mode):
    pid = webm.with_name("pid")
    monkeypatch.setenv("FAKE", mode)
    monkeypatch.setenv("FAKE_PID", str(pid))
    monkeypatch.setattr(ffmpeg, "SILENT_SECONDS", 4.0)
    with pytest.raises(AudioError, match=r"clip\.webm': ffmpeg hangs: nothing came from it for 4 s"):
        read_waveform(webm)
    if os.getsid(0) != os.getpid() and pid.exists():  # else they end with the session
        deadline = time.monotonic() + 60
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline and not is_zombie(int(pid.read_text())):
                time.sleep(0.05)
        assert time.monotonic() < deadline


def is_zombie(pid):
    os.kill(pid, 0)
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def test_a_stream_of_too_many_channels(webm, monkeypatch):
    monkeypatch.setenv("FAKE", "channels")
    with pytest.raises(AudioError, match="ffmpeg cannot decode this WebM or Matroska file"):
        probe_audio(webm)


def test_more_sound_than_the_container_states(webm, monkeypatch):
    monkeypatch.setenv("FAKE", "longer")
    with pytest.raises(
        AudioError, match=r"header promises 3\.000 s, it holds more; convert it to FLAC or WAV"
    ):
        read_waveform(webm)
    assert len(read_waveform(webm, duration=1).samples) == 8000


needs_program = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not there")
CODECS = {
    "adts": "aac",
    "ipod": "aac",
    "mp4": "aac",
    "matroska": "flac",
    "asf": "wmav2",
    "wv": "wavpack",
    "tta": "tta",
    "flv": "aac",
    "oga": "flac",
}


@pytest.fixture
def convert(make, voice):
    wav = make("source.wav", voice(2.0, 16000))

    def convert(path, muxer="ipod"):
        options = [
            "-v",
            "error",
            "-y",
            "-i",
            f"file:{wav}",
            "-strict",
            "-2",
            "-c:a",
            CODECS[muxer],
            "-f",
            muxer,
        ]
        subprocess.run(
            ["ffmpeg", *options, f"file:{path}"], check=True, stdin=subprocess.DEVNULL, timeout=300
        )
        return path

    return convert


@needs_program
@pytest.mark.parametrize("muxer", CODECS)
def test_the_real_program(convert, tmp_path, muxer):
    path = convert(tmp_path / "clip", muxer)
    assert needs_ffmpeg(container_of(path.read_bytes()[:64]))
    samples = read_waveform(path).samples
    assert len(samples) / 16000 == pytest.approx(2.0, abs=0.2)
    assert probe_audio(path).duration == pytest.approx(len(samples) / 16000, abs=0.2)


@needs_program
@pytest.mark.parametrize("name", ["-i.m4a", "concat:a|b.m4a", "x%03d.m4a", "pipe:0", "a'\n.m4a"])
def test_names_mean_nothing_to_the_real_program(convert, tmp_path, monkeypatch, name):
    path = convert(tmp_path / "clip").rename(tmp_path / name)
    assert probe_audio(path).sample_rate == 16000
    monkeypatch.chdir(tmp_path)
    assert len(read_waveform(name).samples) > 30_000


@needs_program
@pytest.mark.parametrize("magic", [b"", WEBM[:4], b"\0\0\0\x18ftypM4A "])
@pytest.mark.parametrize(
    "playlist",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n%s\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile %s\n",
    ],
)
def test_a_playlist_opens_no_other_file(make, voice, tmp_path, magic, playlist):
    other = make("secret.wav", voice(2.0, 16000))
    for place in (other.name, str(other)):
        (tmp_path / "a.mp4").write_bytes(magic + b"\n" * bool(magic) + playlist % place.encode())
        with pytest.raises(AudioError):
            read_waveform(tmp_path / "a.mp4")


@needs_program
def test_a_playlist_that_begins_like_an_mp4_opens_no_other_file(convert, tmp_path):
    convert(tmp_path / "secret.m4a", "mp4")
    (tmp_path / "a.mp4").write_text(
        '<!--ftyp--><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="audio/mp4">'
        '<Representation id="1" bandwidth="9"><BaseURL>secret.m4a</BaseURL></Representation></AdaptationSet>'
        "</Period></MPD>"
    )
    with pytest.raises(AudioError, match="ffmpeg cannot decode this MP4 or M4A file"):
        read_waveform(tmp_path / "a.mp4")


@needs_program
def test_the_real_program_knows_every_container():
    known = subprocess.run(
        ["ffmpeg", "-v", "error", "-demuxers"], capture_output=True, text=True, check=True, timeout=300
    )
    names = {
        name for line in known.stdout.splitlines() for name in line.split()[1:2] for name in name.split(",")
    }
    assert {"matroska", "mov", "aac", "asf", "amr", "wv", "ape", "flv", "tta", "shn", "ogg"} <= names
