import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechtok.errors import TokensError
from speechtok.tokens import SpeechTokens, StreamInfo, TokenizerInfo

CONTENT = StreamInfo(name="content", num_codebooks=2, codebook_size=8, frame_rate=50.0, hop_length=320)
PITCH = StreamInfo(name="pitch", num_codebooks=1, codebook_size=4, frame_rate=200.0, hop_length=80)
RESIDUAL = StreamInfo(name="residual", num_codebooks=3, codebook_size=8, frame_rate=50.0, hop_length=320)


def info(*streams, **fields):
    return TokenizerInfo(name="toy", fingerprint="f00d", sample_rate=16000, streams=streams, **fields)


def tokens(lengths, streams=(CONTENT, PITCH), seed=0, vectors=False, extra=0):
    """Random tokens of utterances of `lengths` samples; `extra` frames of padding."""
    generator = torch.Generator().manual_seed(seed)
    codes, frames = {}, {}
    for stream in streams:
        count = torch.tensor([-(-length // stream.hop_length) for length in lengths], dtype=torch.int64)
        width = int(count.max()) + extra if len(lengths) else 0
        shape = (len(lengths), stream.num_codebooks, width)
        drawn = torch.randint(0, 2, shape, generator=generator)  # few values, so that runs occur
        codes[stream.name] = drawn * (torch.arange(width) < count[:, None])[:, None]
        frames[stream.name] = count
    return SpeechTokens(
        streams=codes,
        num_frames=frames,
        num_samples=torch.tensor(lengths, dtype=torch.int64),
        info=info(*streams, speaker_embedding_dim=4 if vectors else None, has_scale=vectors),
        speaker_embedding=torch.randn(len(lengths), 4, generator=generator) if vectors else None,
        scale=torch.rand(len(lengths), generator=generator) if vectors else None,
    )


some_lengths = st.lists(st.integers(1, 9000), min_size=1, max_size=4)


# --- streams and tokenizers ---


@pytest.mark.parametrize("field", ["num_codebooks", "codebook_size", "hop_length"])
def test_stream_needs_positive_numbers(field):
    with pytest.raises(ValueError, match=f"`{field}` of stream 'content' must be at least 1, got 0"):
        replace(CONTENT, **{field: 0})


def test_codes_must_fit_two_bytes():
    assert replace(CONTENT, codebook_size=65536).codebook_size == 65536
    with pytest.raises(ValueError, match=r"must be at most 16777216, got 16777217"):
        replace(CONTENT, codebook_size=(1 << 24) + 1)


def test_rate_and_hop_must_agree():
    with pytest.raises(ValueError, match="Stream 'content' of 'toy' must have frame_rate × hop_length"):
        info(replace(CONTENT, hop_length=321))


def test_bitrate():
    assert CONTENT.bitrate_bps == 50 * 2 * 3
    assert info(CONTENT, PITCH).bitrate_bps == 300 + 200 * 2


def test_info_survives_plain_values():
    described = info(CONTENT, PITCH, speaker_embedding_dim=3, has_scale=True)
    assert TokenizerInfo.from_dict(described.to_dict()) == described


def test_unknown_stream_is_named():
    with pytest.raises(TokensError, match="'toy' has no stream 'mel'; it has: content, pitch"):
        info(CONTENT, PITCH).stream("mel")


# --- what does not fit together ---


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: {"streams": {"content": t["content"]}}, r"must hold \['content', 'pitch'\] in this order"),
        (
            lambda t: {"streams": dict(reversed(t.streams.items()))},
            r"in this order, .* got \['pitch', 'content'\] and \['content', 'pitch'\]",
        ),
        (
            lambda t: {"streams": {**t.streams, "content": t["content"][0]}},
            r"'content' must have shape \(batch=2, codebooks<=2, frames\), got \(2, 10\)",
        ),
        (
            lambda t: {"streams": {**t.streams, "content": t["content"].repeat(1, 2, 1)}},
            r"codebooks<=2, frames\), got \(2, 4, 10\)",
        ),
        (
            lambda t: {"streams": {**t.streams, "content": t["content"].int()}},
            r"'content' must be int64, got torch.int32 and torch.int64",
        ),
        (
            lambda t: {"num_frames": {**t.num_frames, "content": torch.tensor([10, 11])}},
            r"`num_frames` of stream 'content' must be \(2,\) values from 0 to 10 frames",
        ),
        (
            lambda t: {"num_frames": {**t.num_frames, "content": torch.tensor([10, -1])}},
            "from 0 to 10 frames",
        ),
        (lambda t: {"num_frames": {**t.num_frames, "pitch": torch.tensor([1])}}, r"must be \(2,\) values"),
        (
            lambda t: {"num_samples": torch.tensor([[1, 2]])},
            r"`num_samples` must be \(batch,\), int64, got \(1, 2\)",
        ),
        (lambda t: {"num_samples": torch.tensor([1.0, 2.0])}, "int64, got .* torch.float32"),
        (
            lambda t: {"speaker_embedding": torch.zeros(3, 4)},
            r"`speaker_embedding` must have one row per utterance \(2\), got shape \(3, 4\)",
        ),
        (
            lambda t: {"scale": torch.zeros(1)},
            r"`scale` must have one row per utterance \(2\), got shape \(1,\)",
        ),
    ],
)
def test_fields_must_fit(change, sentence):
    whole = tokens([3200, 640])
    with pytest.raises(TokensError, match=sentence):
        replace(whole, **change(whole))


def test_immutable():
    batch = tokens([3200])
    with pytest.raises(FrozenInstanceError):
        batch.num_samples = torch.tensor([1])
    with pytest.raises(TypeError):
        batch.streams["content"] = torch.zeros(1)
    with pytest.raises(TypeError):
        batch.num_frames["content"] = torch.zeros(1)


def test_mappings_given_are_not_kept():
    streams = dict(tokens([3200]).streams)
    batch = replace(tokens([3200]), streams=streams)
    streams.clear()
    assert list(batch.streams) == ["content", "pitch"]


# --- access ---


def test_stream_by_name():
    batch = tokens([3200])
    assert batch["pitch"] is batch.streams["pitch"]
    with pytest.raises(KeyError, match="no stream 'mel'; these tokens have: content, pitch"):
        batch["mel"]


def test_codes_of_one_rate():
    batch = tokens([3200, 640], streams=(CONTENT, RESIDUAL))
    assert batch.codes.shape == (2, 5, 10)
    assert torch.equal(batch.codes[:, :2], batch["content"])
    assert torch.equal(batch.audio_codes, batch.codes)


def test_codes_of_several_rates():
    with pytest.raises(TokensError, match="'toy' has content 50 Hz, pitch 200 Hz"):
        _ = tokens([3200]).codes


@given(some_lengths)
def test_indexing_takes_rows_without_padding(lengths):
    batch = tokens(lengths, vectors=True, extra=3)
    for index, one in enumerate(batch):
        assert len(one) == 1
        assert one.num_samples.tolist() == [lengths[index]]
        for name, codes in one.streams.items():
            assert codes.shape[2] == int(batch.num_frames[name][index])
            assert torch.equal(codes[0], batch[name][index, :, : codes.shape[2]])
        assert torch.equal(one.speaker_embedding[0], batch.speaker_embedding[index])
        assert one.equals(batch[index - len(lengths)])
        assert one.equals(batch[torch.tensor(index)])  # any integer, as from a sampler


@given(some_lengths, st.integers(0, 4), st.integers(0, 4))
def test_slices_are_rows(lengths, start, stop):
    batch = tokens(lengths, vectors=True)
    part = batch[start:stop]
    assert part.num_samples.tolist() == lengths[start:stop]
    if len(part):
        assert part.equals(SpeechTokens.cat([batch[i] for i in range(len(lengths))[start:stop]]))


def test_index_out_of_range():
    with pytest.raises(IndexError, match="utterance 2 is out of range for 2 utterances"):
        tokens([3200, 640])[2]
    with pytest.raises(IndexError):
        tokens([3200])[-2]
    with pytest.raises(TypeError):
        tokens([3200])[[0]]


def test_select():
    batch = tokens([3200, 640])
    pitch = batch.select("pitch")
    assert list(pitch.streams) == ["pitch"]
    assert pitch.info.streams == (PITCH,)
    assert pitch.info.fingerprint == batch.info.fingerprint
    assert batch.select("pitch", "content").select("content", "pitch").equals(batch)
    with pytest.raises(TokensError, match="has no stream 'mel'"):
        batch.select("mel")


def test_to_keeps_everything():
    batch = tokens([3200, 640], vectors=True)
    assert batch.to("cpu").equals(batch)


@given(some_lengths)
def test_pickled_and_copied(lengths):
    batch = tokens(lengths, vectors=True)
    assert pickle.loads(pickle.dumps(batch)).equals(batch)
    assert copy.deepcopy(batch).equals(batch)
    runs = pickle.loads(pickle.dumps(batch.deduplicated()))
    assert runs.expanded().equals(batch)


def test_equals_sees_every_difference():
    batch = tokens([3200, 640], vectors=True)
    other_code = batch["content"].clone()
    other_code[1, 0, 0] += 1
    others = [
        replace(batch, streams={**batch.streams, "content": other_code}),
        replace(batch, num_samples=torch.tensor([3200, 639])),
        replace(batch, num_frames={**batch.num_frames, "content": torch.tensor([10, 1])}),
        replace(batch, scale=None),
        replace(batch, scale=batch.scale + 1),
        replace(batch, speaker_embedding=batch.speaker_embedding + 1),
        replace(batch, info=replace(batch.info, fingerprint="beef")),
        batch[0],
        batch.select("content"),
    ]
    assert batch.equals(tokens([3200, 640], vectors=True))
    assert not any(batch.equals(other) or other.equals(batch) for other in others)


def test_equals_ignores_padding():
    assert tokens([3200])[0].equals(replace(tokens([3200]), streams=padded(tokens([3200]), 5)))


def padded(batch, frames):
    return {name: torch.nn.functional.pad(codes, (0, frames)) for name, codes in batch.streams.items()}


# --- joining ---


@given(some_lengths, some_lengths)
def test_cat_then_index(first, second):
    a, b = tokens(first, seed=1, vectors=True), tokens(second, seed=2, vectors=True, extra=2)
    joined = SpeechTokens.cat([a, b])
    assert len(joined) == len(first) + len(second)
    assert joined[: len(first)].equals(a)
    assert joined[len(first) :].equals(b)
    for name, codes in joined.streams.items():
        valid = torch.arange(codes.shape[2]) < joined.num_frames[name][:, None]
        assert not (codes * ~valid[:, None]).any()


def test_cat_refuses_strangers():
    batch = tokens([3200])
    with pytest.raises(ValueError, match="`batches` must hold at least one batch"):
        SpeechTokens.cat([])
    for other in (None, batch["content"], [batch]):
        with pytest.raises(
            TypeError, match=r"`batches` must hold `SpeechTokens`, got (NoneType|Tensor|list)"
        ):
            SpeechTokens.cat([batch, other])
    other = replace(batch, info=replace(batch.info, name="other", fingerprint="beef"))
    with pytest.raises(TokensError, match=r"got 'toy' \(f00d\) and 'other' \(beef\)"):
        SpeechTokens.cat([batch, other])
    fewer = replace(batch, streams={**batch.streams, "content": batch["content"][:, :1]})
    with pytest.raises(TokensError, match="the same number of codebooks per stream"):
        SpeechTokens.cat([batch, fewer])
    with pytest.raises(
        TokensError, match="Some batches carry a speaker embedding or scale and others do not"
    ):
        SpeechTokens.cat([batch, replace(batch, scale=torch.ones(1))])


# --- prompts ---


@given(st.lists(st.integers(6400, 20000), min_size=1, max_size=3), st.integers(0, 15), st.integers(1, 80))
def test_slice_seconds_keeps_frames_between(lengths, first, count):
    """Streams stay aligned, and every kept frame is the one at its time."""
    batch = tokens(lengths)
    part = batch.slice_seconds(first * 0.02, (first + count) * 0.02)
    stop = (first + count) * 320
    for index, length in enumerate(lengths):
        end = length if length <= stop else stop
        assert int(part.num_samples[index]) == end - first * 320
        for name, hop in (("content", 320), ("pitch", 80)):
            kept = int(part.num_frames[name][index])
            assert kept == -(-end // hop) - first * 320 // hop
            expected = batch[name][index, :, first * 320 // hop :][:, :kept]
            assert torch.equal(part[name][index, :, :kept], expected)
            assert not part[name][index, :, kept:].any()


@given(st.integers(320, 20000), st.integers(1, 61))
def test_slices_join_to_the_whole(length, frames):
    batch = tokens([length])
    cut = frames * 0.02
    if frames * 320 >= length:
        assert batch.slice_seconds(0, cut).equals(batch)
        return
    head, tail = batch.slice_seconds(0, cut), batch.slice_seconds(cut, float("inf"))
    assert int(head.num_samples) + int(tail.num_samples) == length
    for name in batch.streams:
        assert torch.equal(torch.cat([head[name], tail[name]], dim=2), batch[name])


def test_slice_seconds_rounds_down_to_the_slowest_stream():
    part = tokens([16000]).slice_seconds(0.305, 0.599)
    assert part.num_samples.tolist() == [29 * 320 - 15 * 320]
    assert part.num_frames["content"].tolist() == [14]
    assert part.num_frames["pitch"].tolist() == [56]


def test_slice_seconds_keeps_vectors():
    batch = tokens([16000, 16000], vectors=True)
    part = batch.slice_seconds(0.1, 0.5)
    assert torch.equal(part.scale, batch.scale)
    assert torch.equal(part.speaker_embedding, batch.speaker_embedding)


@pytest.mark.parametrize(("start", "stop"), [(1, 1), (1, 0.5), (-1, 1), (float("nan"), 1), (0, float("nan"))])
def test_slice_seconds_needs_an_interval(start, stop):
    with pytest.raises(ValueError, match="`start` and `stop` must satisfy 0 <= start < stop"):
        tokens([16000]).slice_seconds(start, stop)


def test_slice_seconds_of_nothing():
    with pytest.raises(
        TokensError, match=r"Utterance 1 has no frame between 0\.5 s and 1 s; it is 0\.25 s long"
    ):
        tokens([16000, 4000]).slice_seconds(0.5, 1)
    with pytest.raises(
        TokensError, match=r"Utterance 0 has no frame between 0.1 s and 0.11 s; .* 0.02 s apart"
    ):
        tokens([16000]).slice_seconds(0.1, 0.11)


def test_empty_batches():
    empty = tokens([3200], vectors=True)[0:0]
    assert len(empty) == 0
    assert len(empty.slice_seconds(0, 1)) == 0
    assert len(empty.deduplicated().expanded()) == 0
    assert len(SpeechTokens.cat([empty, empty])) == 0


# --- runs ---


@given(some_lengths)
def test_deduplicated_and_back(lengths):
    batch = tokens(lengths, vectors=True, extra=2)
    runs = batch.deduplicated()
    assert runs.expanded().equals(batch)
    for name, codes in runs.streams.items():
        for index, count in enumerate(runs.num_runs[name].tolist()):
            durations = runs.durations[name][index]
            assert (durations[:count] > 0).all()
            assert not durations[count:].any()
            assert int(durations.sum()) == int(batch.num_frames[name][index])
            valid = codes[index, :, :count]
            assert (valid[:, 1:] != valid[:, :-1]).any(dim=0).all()  # no two runs could be merged


def test_deduplicated_example():
    stream = replace(CONTENT, num_codebooks=1)
    batch = SpeechTokens(
        streams={"content": torch.tensor([[[5, 5, 5, 2, 5, 0]], [[1, 1, 0, 0, 0, 0]]])},
        num_frames={"content": torch.tensor([5, 2])},
        num_samples=torch.tensor([1600, 640]),
        info=info(stream),
    )
    runs = batch.deduplicated()
    assert runs.streams["content"].tolist() == [[[5, 2, 5]], [[1, 0, 0]]]
    assert runs.durations["content"].tolist() == [[3, 1, 1], [2, 0, 0]]
    assert runs.num_runs["content"].tolist() == [3, 1]
    with pytest.raises(TypeError):
        runs.streams["content"] = None
