"""Which files hold audio: by suffix, and by their first bytes."""

from speechtok.storage import Place, as_path

AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".w64", ".rf64", ".flac", ".mp3", ".mp2", ".ogg", ".oga", ".opus"}
    | {".aif", ".aiff", ".aifc", ".caf", ".au", ".snd", ".sph", ".nist", ".voc", ".ircam", ".raw", ".pcm"}
    | {".m4a", ".m4b", ".mp4", ".mka", ".webm", ".aac", ".wma", ".wv", ".amr", ".3gp"}
)
"""Suffixes of audio files, in lower case."""

HEAD_BYTES = 64
"""How much of a file `container_of` needs to see."""

_RIFF_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")

_SNDFILE_MAGIC = {
    b"RIFF": "WAV",
    b"RIFX": "WAV",
    b"RF64": "RF64",
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"FORM": "AIFF",
    b".snd": "AU",
    b"dns.": "AU",
    b"caff": "CAF",
    b"NIST_1A": "NIST Sphere",
    b"Creative Voice": "VOC",
    _RIFF_W64: "W64",
    b"ID3": "MP3",
}

_FFMPEG_MAGIC = {
    bytes.fromhex("1a45dfa3"): "WebM or Matroska",
    bytes.fromhex("3026b2758e66cf11"): "ASF or WMA",
    b"#!AMR": "AMR",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
    b"FLV\x01": "FLV",
    b"TTA1": "TTA",
    b"ajkg": "Shorten",
}

_IN_OGG = {b"\x7fFLAC": "Ogg FLAC", b"Speex   ": "Ogg Speex"}


def container_of(head: bytes) -> str | None:
    """Return the container that a file's first bytes announce, or None if they announce none."""
    if head[8:16] == b"WAVEfmt " and head[20:22] in (b"\x50\0", b"\x55\0"):
        return "MPEG audio in WAV"
    for magic, name in _IN_OGG.items():
        if head.startswith(b"OggS") and head.startswith(magic, 28):
            return name
    for magic, name in (_SNDFILE_MAGIC | _FFMPEG_MAGIC).items():
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp":
        return "MP4 or M4A"
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:  # 12 bits of sync, layer 0
        return "AAC"
    layer, bitrate, rate = head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    is_mpeg = head[1] & 0xE0 == 0xE0 and layer in (1, 2) and bitrate not in (0, 15) and rate != 3
    return "MP3" if is_mpeg else None


def needs_ffmpeg(container: str | None) -> bool:
    """Return whether files of `container`, as `container_of` names it, are beyond libsndfile."""
    return container in {*_FFMPEG_MAGIC.values(), *_IN_OGG.values(), "MPEG audio in WAV", "MP4 or M4A", "AAC"}


def looks_like_audio(path: Place) -> bool:
    """Return whether `path` is named like an audio file or, having no suffix, begins like one.

    Only files without a suffix are opened. A name beginning with "._" is never audio: macOS keeps
    a file's attributes under it.
    """
    place = as_path(path)
    if place.name.startswith("._"):
        return False
    if place.suffix:
        return place.suffix.lower() in AUDIO_SUFFIXES
    if not place.is_file():
        return False
    try:
        with place.open("rb") as file:
            return container_of(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False
