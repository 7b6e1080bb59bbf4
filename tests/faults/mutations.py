"""Recordings of many formats, each damaged in one way or another; the same ones every time."""

import io
import math
import random

import numpy as np
import soundfile

FORMATS = (
    *[
        ("wav", "WAV", subtype)
        for subtype in (
            "PCM_U8",
            "PCM_16",
            "PCM_24",
            "PCM_32",
            "FLOAT",
            "DOUBLE",
            "ULAW",
            "ALAW",
            "IMA_ADPCM",
            "MS_ADPCM",
            "GSM610",
        )
    ],
    ("wav", "WAVEX", "PCM_16"),
    ("flac", "FLAC", "PCM_16"),
    ("flac", "FLAC", "PCM_24"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("aiff", "AIFF", "PCM_16"),
    ("au", "AU", "PCM_16"),
    ("sph", "NIST", "PCM_16"),
    ("caf", "CAF", "PCM_16"),
    ("caf", "CAF", "ALAC_16"),
    ("w64", "W64", "PCM_16"),
    ("rf64", "RF64", "PCM_16"),
    ("voc", "VOC", "PCM_16"),
)


def tone(chance):
    rate = chance.choice([8000, 16000, 44100, 48000])
    time = np.arange(int(rate * chance.uniform(0.1, 0.6))) / rate
    wave = 0.4 * np.sin(2 * np.pi * chance.uniform(80, 900) * time) * (0.5 + 0.5 * np.sin(20 * time))
    return (wave if chance.random() < 0.7 else np.stack([wave, -0.5 * wave], 1)), rate


def recording(container, subtype, chance):
    samples, rate = tone(chance)
    if subtype == "GSM610":
        samples, rate = (samples if samples.ndim == 1 else samples[:, 0]), 8000
    file = io.BytesIO()
    soundfile.write(file, samples, 48000 if subtype == "OPUS" else rate, format=container, subtype=subtype)
    return bytearray(file.getvalue())


def cut(data, chance):
    return data[: chance.randrange(len(data))]


def flip(data, chance):
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def flip_header(data, chance):
    for _ in range(chance.randint(1, 6)):
        data[chance.randrange(min(64, len(data)))] = chance.randrange(256)
    return data


def extreme(data, chance):
    """Put a number at a limit into the header, where sizes, rates and channel counts stand."""
    place = chance.randrange(4, min(60, len(data) - 4))
    value = chance.choice(
        [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"]
    )
    data[place : place + 4] = value
    return data


def drop(data, chance):
    first = chance.randrange(len(data))
    del data[first : first + chance.randint(1, 2000)]
    return data


def repeat(data, chance):
    first = chance.randrange(len(data))
    return data[:first] + data[first : first + 1000] * chance.randint(2, 20) + data[first:]


def insert_noise(data, chance):
    first = chance.randrange(len(data))
    return data[:first] + chance.randbytes(chance.randint(1, 3000)) + data[first:]


def overwrite(data, chance):
    first = chance.randrange(len(data))
    length = min(chance.randint(1, 3000), len(data) - first)
    data[first : first + length] = bytes(length) if chance.random() < 0.5 else chance.randbytes(length)
    return data


def swap_heads(data, chance):
    """Begin as another format does."""
    head = chance.choice(
        [b"RIFF", b"fLaC", b"OggS", b"ID3\x04", b"FORM", b".snd", b"caff", b"NIST_1A\n", b"RF64"]
    )
    return head + data[len(head) :]


def splice_heads(data, chance):
    """Put the beginning of a recording of another format before it, or in place of its own."""
    _, container, subtype = chance.choice(FORMATS)
    head = recording(container, subtype, chance)[: chance.choice([12, 44, 128, 512])]
    return head + data[chance.choice([0, len(head)]) :]


SIZES = {
    b"data": (4, 4),
    b"COMM": (10, 4),
    b"SSND": (4, 4),
    b".snd": (8, 4),
    b"fLaC": (22, 4),
    b"ds64": (8, 24),
}
SIZES |= {b"OggS": (6, 8), b"Xing": (8, 8), b"Info": (8, 8), b"fact": (8, 4), b"data\xf3": (16, 8)}
"""Where sizes stand in containers: bytes from the beginning of a mark, and how many."""


def claim_hours(data, chance):
    """State sizes of many hours or many gigabytes wherever the container states its size."""
    for mark, (offset, length) in SIZES.items():
        place = data.find(mark)
        if 0 <= place <= len(data) - offset - length:
            data[place + offset : place + offset + length] = (
                chance.choice([b"\x7f", b"\xff", b"\x3f"]) * length
            )
    return data.replace(b"sample_count -i ", b"sample_count -i 99999")


def claim_less(data, chance):
    """State less than the file holds wherever the container states its size."""
    for mark, (offset, length) in SIZES.items():
        place = data.find(mark)
        if 0 <= place <= len(data) - offset - length:
            data[place + offset : place + offset + length] = chance.choice(
                [bytes(length), chance.randbytes(length)]
            )
    return data


def join(data, chance):
    """Put another recording behind it, of the same format or not, with or without a tag between."""
    _, container, subtype = chance.choice(FORMATS)
    other = data if chance.random() < 0.5 else recording(container, subtype, chance)
    return data + chance.choice([b"", b"TAG" + bytes(125), b"ID3\x04\0\0\0\0\0\x20" + bytes(32)]) + other


def tag(data, chance):
    """Put an ID3v2 tag before it, whose size may be wrong."""
    size = chance.choice([0, 20, 20, 20, 127])
    return b"ID3\x04\0" + bytes([chance.choice([0, 0, 0x10, 0x40, 0x80]), 0, 0, 0, size]) + bytes(20) + data


def empty(data, chance):
    return b""


def noise(data, chance):
    return chance.randbytes(len(data))


def mislabel(data, chance):
    """A good recording; its name gets the ending of another format."""
    return data


def keep(data, chance):
    return data


MUTATIONS = (
    *(cut, flip, flip_header, extreme, drop, repeat, insert_noise, overwrite, swap_heads),
    *(splice_heads, claim_hours, claim_less, join, tag, empty, noise, mislabel, keep),
)


def write_mutated(folder, count):
    """Write recordings number 0 to `count`, every format in every mutation before any comes again."""
    folder.mkdir()
    cycle = math.lcm(len(FORMATS), len(MUTATIONS))
    for number in range(count):
        suffix, container, subtype = FORMATS[number % len(FORMATS)]
        chance = random.Random(number)
        mutation = MUTATIONS[(number + number // cycle) % len(MUTATIONS)]
        data = mutation(recording(container, subtype, chance), chance)
        if mutation is mislabel:
            suffix = chance.choice(sorted({other for other, _, _ in FORMATS} - {suffix}))
        (folder / f"{number:03d}-{mutation.__name__}-{subtype.lower()}.{suffix}").write_bytes(data)
