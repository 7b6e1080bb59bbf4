"""Prove a tokenizer on this machine: its files, and what it makes of the shipped clips.

Conventions: entropy is in bits per code, see `speechtok.shards.statistics`. STOI compares each
decoded clip with its recording; 1 is perfect.
Source: Taal et al. 2011, An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy
Speech, IEEE TASLP 19(7); computed by the pystoi package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import cosine_similarity

from speechtok.audio.io import read_waveform
from speechtok.cards import CardFile, TokenizerCard
from speechtok.commands.encode import encode_file
from speechtok.corpora import read_corpus
from speechtok.demo.demonstration import BROKEN, CORPUS
from speechtok.errors import CheckpointError
from speechtok.hub import commit_of
from speechtok.limits import require_regular_file
from speechtok.loading import build_tokenizer, locate_files
from speechtok.shards.statistics import StreamStatistics, count_codes
from speechtok.storage import AnyPath, file_sha256, replacing
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokens import SpeechTokens
from speechtok.wording import count_text, duration_text

Samples = np.ndarray[Any, Any]

PIN_SUFFIXES = (".yaml", ".yml")
"""What the name of a card ends with."""


@dataclass(frozen=True, kw_only=True)
class TokenizerCheck:
    """What was found out about a tokenizer that loads and works."""

    card: TokenizerCard
    """Its card, with revision and sha256 of every file filled in."""
    fingerprint: str
    """Hash of everything that decides what a code means."""
    seconds: float
    """Seconds of speech encoded and decoded."""
    streams: tuple[StreamStatistics, ...]
    """How the codes of each stream are used; `stored_bytes` is 0, as nothing is stored."""
    stoi: tuple[float, ...] | None
    """Intelligibility of each decoded clip; None where pystoi is not installed or nothing can be decoded."""


def check_tokenizer(
    name: str | Path,
    *,
    say: Callable[[str], None],
    checkpoint: str | AnyPath | None = None,
    device: str = "cpu",
    pin: Path | None = None,
    clips: Sequence[Path] | None = None,
    track: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> TokenizerCheck:
    """Load a tokenizer's files strictly, encode and decode the shipped clips, and say what comes out.

    A composition without the part that decodes is checked as far as it goes.

    Args:
        name: as for `load_tokenizer`.
        say: called with each line, as soon as it is known.
        checkpoint: local folder with the published files; None takes them from the Hub or its cache.
        device: where the tokenizer runs.
        pin: card to write once all went well, with revision and sha256 of every file. The revision is
            known for files of the Hub's cache; of other files the card keeps what it states.
        clips: recordings to use instead of the shipped clips.
        track: goes through the clips, which takes minutes for large networks, and may show how far it is.

    Raises:
        ValueError: when `pin` does not end like a card.
        CardError: for an unknown name, or a card that does not fit.
        CheckpointError: when a file is missing, damaged or does not fit, has another sha256 than the
            card states, or the tokenizer decodes to something else than finite samples.
        HubError: when files must be fetched and cannot be.
    """
    if pin is not None and pin.suffix not in PIN_SUFFIXES:
        raise ValueError(f"A card's file must end in .yaml, got {pin}.")
    card, files = locate_files(name, checkpoint=checkpoint)
    say(f"{card.name}: {card.description}")
    pinned = _check_files(card, files, say)
    tokenizer = build_tokenizer(card, files, device=device)
    if not files:
        say("No files: this tokenizer has no weights.")
    say(f"Loaded; fingerprint {tokenizer.fingerprint}")
    result = _check_clips(tokenizer, shipped_clips() if clips is None else clips, pinned, say, track)
    if pin is not None:
        with replacing(pin, pin.parent) as temporary:
            pinned.write(temporary)
        say(f"Wrote the card with {count_text(len(pinned.files), 'pinned file')} to {pin}.")
    return result


def shipped_clips() -> list[Path]:
    """Return the clips that come with the package and can be read."""
    return [CORPUS.parent / item.audio for item in read_corpus(CORPUS).utterances if item.id != BROKEN]


def _check_files(card: TokenizerCard, files: Mapping[str, Path], say: Callable[[str], None]) -> TokenizerCard:
    """Say where each file is from and what its hash is; return the card with both filled in."""
    pinned = []
    # A composition's card lists no files: its parts are whatever lies in the folder.
    for file in card.files or tuple(CardFile(path=name) for name in files):
        if file.local_path not in files:
            say(f"{file.local_path}: not there, and not needed to encode and decode")
            pinned.append(file)
            continue
        path = files[file.local_path]
        require_regular_file(path, error=CheckpointError)
        commit, found = commit_of(path), file_sha256(path)
        say(file.local_path)
        say(f"  from      {_origin(file, path, commit)}")
        say(f"  sha256    {found}, {_verdict(file, found)}")
        pinned.append(replace(file, revision=commit or file.revision, sha256=found))
    return card.with_files(tuple(pinned))


def _origin(file: CardFile, path: Path, commit: str | None) -> str:
    if commit is None:
        return f"{path.parent}, revision not known"
    return f"{file.repository or path.parent}, revision {commit}"


def _verdict(file: CardFile, found: str) -> str:
    if file.sha256 is None:
        return "not pinned yet"
    return "as its card states" if file.sha256 == found else f"but its card states {file.sha256}"


def _check_clips(
    tokenizer: SpeechTokenizer,
    clips: Sequence[Path],
    card: TokenizerCard,
    say: Callable[[str], None],
    track: Callable[[Sequence[Path]], Iterable[Path]],
) -> TokenizerCheck:
    """Encode and decode recordings, and say how codes are used and how much can be understood."""
    counts = {
        stream.name: np.zeros((stream.num_codebooks, stream.codebook_size), dtype=np.int64)
        for stream in tokenizer.streams
    }
    stoi, scores, encoded = _stoi(), list[tuple[float, str]](), list[SpeechTokens]()
    for clip in track(clips):
        tokens = encode_file(tokenizer, clip)
        for name, codes in tokens.streams.items():
            count_codes(counts[name], codes[0].cpu().numpy())
        if tokenizer.can_decode:
            rate = tokenizer.output_sample_rate
            original = read_waveform(clip, sample_rate=rate).samples
            voice = {"speaker": tokenizer.voices[0]} if tokenizer.voices else {}
            decoded = _speech(tokenizer, tokenizer.decode(tokens, **voice), tokens, clip)
            if stoi is not None:
                length = min(len(original), len(decoded))  # another rate may round otherwise
                scores.append((stoi(original[:length], decoded[:length], rate), clip.name))
        encoded.append(tokens)
    seconds = sum(int(tokens.num_samples[0]) for tokens in encoded) / tokenizer.sample_rate
    done = "Encoded and decoded" if tokenizer.can_decode else "Encoded"
    say(f"{done} {count_text(len(clips), 'clip')}, {duration_text(seconds)}")
    streams = tuple(
        StreamStatistics(stream=stream, counts=counts[stream.name], stored_bytes=0)
        for stream in tokenizer.streams
    )
    for item in streams:
        _tell_use(item, say)
    if not tokenizer.can_decode:
        say("  speech    not checked: these files make tokens, but no speech of tokens alone")
        return TokenizerCheck(
            card=card, fingerprint=tokenizer.fingerprint, seconds=seconds, streams=streams, stoi=None
        )
    _tell_stoi(scores if stoi is not None else None, say)
    with_voice = (
        encoded[0].speaker_embedding is not None
    )  # otherwise voices are named, and only its owner knows them
    if tokenizer.can_convert_voice and with_voice and len(clips) > 1:
        _check_conversion(tokenizer, (encoded[0], clips[0]), (encoded[-1], clips[-1]), say)
    return TokenizerCheck(
        card=card,
        fingerprint=tokenizer.fingerprint,
        seconds=seconds,
        streams=streams,
        stoi=None if stoi is None else tuple(score for score, _ in scores),
    )


def _check_conversion(
    tokenizer: SpeechTokenizer,
    source: tuple[SpeechTokens, Path],
    target: tuple[SpeechTokens, Path],
    say: Callable[[str], None],
) -> None:
    """Convert one clip, which may need files that decoding does not, and say whose voice it is nearer to."""
    (said, clip), (voice, other) = source, target
    waveform = tokenizer.convert_voice(said, voice)
    converted = _speech(tokenizer, waveform, said, clip)
    line = f"  voice     {clip.name} in the voice of {other.name}"
    heard = tokenizer.encode(converted).speaker_embedding
    if heard is not None and said.speaker_embedding is not None and voice.speaker_embedding is not None:
        near, far = (
            float(cosine_similarity(heard.double(), vector.double()))
            for vector in (voice.speaker_embedding, said.speaker_embedding)
        )
        line += f"; cosine of speaker vectors {near:.3f} with {other.name}, {far:.3f} with {clip.name}"
    say(line)


def _speech(tokenizer: SpeechTokenizer, waveform: Tensor, tokens: SpeechTokens, clip: Path) -> Samples:
    """Return `(1, samples)` speech of tokens as `(samples,)`, float64.

    Raises:
        CheckpointError: when its length is not the recording's, or it holds NaN or infinity.
    """
    num_samples = tokenizer.output_samples(int(tokens.num_samples[0]))
    samples: Samples = waveform[0].double().cpu().numpy()
    if len(samples) != num_samples or not np.isfinite(samples).all():
        raise CheckpointError(
            f"'{tokenizer.name}' loads, but makes {len(samples):,} samples of {clip.name}, which has {num_samples:,}, "
            f"and {np.count_nonzero(~np.isfinite(samples)):,} of them are NaN or infinite; its files may be damaged."
        )
    return samples


def _tell_use(item: StreamStatistics, say: Callable[[str], None]) -> None:
    bound = math.log2(item.stream.codebook_size)
    say(
        f"  {item.stream.name:9} {item.num_codes:,} codes; {100 * item.used.mean():.1f} % of codes used "
        f"(lowest {100 * item.used.min():.1f} %); entropy {item.entropy.mean():.3f} of {bound:.3f} bits "
        f"(lowest {item.entropy.min():.3f})"
    )


def _tell_stoi(scores: Sequence[tuple[float, str]] | None, say: Callable[[str], None]) -> None:
    if scores is None:
        say("  STOI      not computed: pystoi is not installed (pip install 'speechtok[metrics]')")
        return
    mean, (worst, clip) = sum(score for score, _ in scores) / len(scores), min(scores)
    say(f"  STOI      {mean:.3f} on average, {worst:.3f} at least ({clip}); 1 is perfect")


def _stoi() -> Callable[[Samples, Samples, int], float] | None:
    """Return the measure, or None where pystoi is not installed."""
    try:
        from pystoi import stoi
    except ImportError:
        return None
    return lambda original, decoded, rate: float(stoi(original, decoded, rate))
