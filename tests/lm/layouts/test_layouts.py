"""Every layout gives back what it was given, on random codes, as numpy arrays and as torch tensors."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechtok.errors import TokensError
from speechtok.lm.layouts import align, factors, grid, interleave, units, valle
from speechtok.tokens import StreamInfo

seeds = st.integers(0, 999)


@st.composite
def grids(draw, min_codebooks=1, ndim=None):
    """Random codes `(…, codebooks, frames)`."""
    batch = draw(st.sampled_from([(), (2,)])) if ndim is None else ()
    shape = (*batch, draw(st.integers(min_codebooks, 5)), draw(st.integers(0, 12)))
    codes = np.random.default_rng(draw(seeds)).integers(0, 9, shape)
    return torch.from_numpy(codes) if draw(st.booleans()) else codes


@st.composite
def sequences(draw, high=4):
    """Random `(length,)` ids, with runs."""
    ids = np.random.default_rng(draw(seeds)).integers(0, high, draw(st.integers(0, 30)))
    return torch.from_numpy(ids) if draw(st.booleans()) else ids


def same(one, other):
    return type(one) is type(other) and one.shape == other.shape and bool((one == other).all())


# --- grids ---


@given(codes=grids())
def test_flat_layouts(codes):
    assert same(grid.unflatten_frames(grid.flatten_frames(codes), codes.shape[-2]), codes)
    assert same(grid.unflatten_codebooks(grid.flatten_codebooks(codes), codes.shape[-2]), codes)
    assert same(grid.unparallel(grid.parallel(codes)), codes)


@given(codes=grids(min_codebooks=2), data=st.data())
def test_coarse_first(codes, data):
    coarse = data.draw(st.integers(1, codes.shape[-2] - 1))
    flat = grid.coarse_first(codes, coarse)
    assert same(grid.undo_coarse_first(flat, codes.shape[-2], coarse), codes)


@given(codes=grids(), data=st.data())
def test_delay(codes, data):
    books = codes.shape[-2]
    delays = data.draw(st.none() | st.lists(st.integers(0, 4), min_size=books, max_size=books))
    late = grid.delay(codes, -7, delays)
    assert same(grid.undelay(late, delays), codes)
    assert int((late == -7).sum()) == late.shape[-2] * max(delays or [books - 1]) * (codes.ndim == 2 or 2)


def test_orders():
    codes = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert grid.flatten_frames(codes).tolist() == [1, 4, 7, 2, 5, 8, 3, 6, 9]
    assert grid.flatten_codebooks(codes).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert grid.coarse_first(codes, 1).tolist() == [1, 2, 3, 4, 7, 5, 8, 6, 9]
    assert grid.delay(codes, 0).tolist() == [[1, 2, 3, 0, 0], [0, 4, 5, 6, 0], [0, 0, 7, 8, 9]]
    assert grid.delay(codes, 0, [0, 0, 0]).tolist() == codes.tolist()
    assert grid.parallel(codes).tolist() == [[1, 4, 7], [2, 5, 8], [3, 6, 9]]


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (lambda c: grid.unflatten_frames(c[0], 2), "must have a multiple of 2 codes, got 3"),
        (lambda c: grid.coarse_first(c, 2), "`num_coarse` must be from 1 to 1 for 2 codebooks, got 2"),
        (lambda c: grid.delay(c, 0, [1]), r"`delays` must be 2 numbers from 0 on, .* got \[1\]"),
        (lambda c: grid.delay(c, 0, [-1, 0]), "`delays` must be 2 numbers"),
        (lambda c: grid.undelay(c, [0, 4]), "`grid` must have at least 4 steps .* got 3"),
        (lambda c: units.deduplicate(c[0], 0), "`max_duration` must be at least 1, got 0"),
        (lambda c: units.expand(c[0], c[0, :1]), r"the same shape, got \(3,\) and \(1,\)"),
        (lambda c: units.unpair(c[0]), "must be an even number of ids, got 3"),
        (lambda c: interleave.alternate(c[0], c[1], 0, 1), "must be at least 1, got 0 and 1"),
        (lambda c: interleave.join_spans([], 1, 2), "`spans` must hold at least one span"),
        (lambda c: interleave.alternate_at(c[0], c[1], [(1, 1)], []), "must be equally long, got 1 and 0"),
        (lambda c: valle.nar_example(c, 2, 0), "`level` must be from 1 to 1 for 2 codebooks, got 2"),
        (lambda c: valle.nar_example(c, 1, 4), "`prompt_frames` must be from 0 to 3, got 4"),
        (lambda c: valle.join_levels(c, c[0], []), "must hold the 1 levels above the first .* got 0"),
        (
            lambda c: factors.mask_stage(c, [0], 0, c[0] > 0, mask=9),
            r"`row_stages` must name the stage of each of the 2 rows, stage 0 among them, got \[0\]",
        ),
        (
            lambda c: factors.mask_stage(c, [0, 1], 0, c[0, :2] > 0, mask=9),
            r"`masked` must be \(3 frames,\), got shape \(2,\)",
        ),
        (lambda c: factors.cosine_mask(3, 1.5, np.random.default_rng()), "from 0 to 1, got 1.5"),
    ],
)
def test_wrong_arguments(action, sentence):
    with pytest.raises(ValueError, match=sentence):
        action(np.array([[1, 2, 3], [4, 5, 6]]))


# --- streams of several rates ---


@given(
    hops=st.lists(st.sampled_from([160, 200, 320, 640, 1280]), min_size=1, max_size=3),
    books=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    samples=st.integers(0, 6000),
    seed=seeds,
    tensors=st.booleans(),
)
def test_aligned_streams(hops, books, samples, seed, tensors):
    streams = [
        StreamInfo(
            name=f"s{n}", num_codebooks=books[n], codebook_size=9, frame_rate=16000 / hop, hop_length=hop
        )
        for n, hop in enumerate(hops)
    ]
    random = np.random.default_rng(seed)
    codes = {s.name: random.integers(0, 9, (s.num_codebooks, -(-samples // s.hop_length))) for s in streams}
    if tensors:
        codes = {name: torch.from_numpy(item) for name, item in codes.items()}
    aligned = align.align(codes, streams, -1)
    frames = {name: item.shape[1] for name, item in codes.items()}
    back = align.unalign(aligned, streams, frames)
    assert all(same(back[name], codes[name]) for name in codes)
    assert int((aligned >= 0).sum()) == sum(item.shape[0] * item.shape[1] for item in codes.values())
    whole = align.unalign(aligned, streams)
    assert all(int((whole[name] >= 0).sum()) == codes[name].shape[0] * frames[name] for name in codes)


def test_rows_of_units_and_pitch():
    streams = [
        StreamInfo(name="content", num_codebooks=1, codebook_size=9, frame_rate=50.0, hop_length=320),
        StreamInfo(name="pitch", num_codebooks=1, codebook_size=9, frame_rate=12.5, hop_length=1280),
    ]
    rows = [(row.stream, row.phase) for row in align.rows_of(streams)]
    assert rows == [("content", 0), ("pitch", 0), ("content", 1), ("content", 2), ("content", 3)]
    codes = {"content": np.array([[1, 2, 3, 4, 5]]), "pitch": np.array([[7, 8]])}
    assert align.align(codes, streams, -1).T.tolist() == [[1, 7, 2, 3, 4], [5, 8, -1, -1, -1]]
    with pytest.raises(TokensError, match=r"'pitch' must be \(1 codebooks, frames\), got shape \(2, 2\)"):
        align.align({**codes, "pitch": np.zeros((2, 2), int)}, streams, -1)
    with pytest.raises(TokensError, match="must have 5 rows, got 4"):
        align.unalign(np.zeros((4, 2), int), streams)


# --- units ---


@given(ids=sequences(), longest=st.none() | st.integers(1, 5))
def test_units(ids, longest):
    runs, durations = units.deduplicate(ids, longest)
    assert same(units.expand(runs, durations), ids)
    assert all(
        same(a, b) for a, b in zip(units.unpair(units.pair(runs, durations)), (runs, durations), strict=True)
    )
    assert int(durations.sum()) == len(ids)
    if longest is None:
        assert bool((runs[1:] != runs[:-1]).all())
    elif len(ids):
        assert 1 <= int(durations.min()) <= int(durations.max()) <= longest


def test_long_runs_are_split():
    runs, durations = units.deduplicate(np.array([3, 3, 3, 3, 3, 1, 1]), 2)
    assert (runs.tolist(), durations.tolist()) == ([3, 3, 3, 1], [2, 2, 1, 2])


# --- text and speech ---


@given(text=sequences(), speech=sequences(), one=st.integers(1, 6), other=st.integers(1, 6))
def test_alternating(text, speech, one, other):
    if type(text) is not type(speech):
        speech = torch.as_tensor(speech) if isinstance(text, torch.Tensor) else np.asarray(speech)
    spans = interleave.alternate(text, speech + 10, one, other)
    back = interleave.gather(spans, text)
    assert same(back[0], text)
    assert same(back[1], speech + 10)
    joined = interleave.join_spans(spans, 98, 99)
    again = interleave.split_spans(joined, 98, 99)
    assert [kind for kind, _ in again] == [kind for kind, _ in spans]
    assert all(same(a, b) for (_, a), (_, b) in zip(again, spans, strict=True))


def test_turns():
    spans = interleave.alternate(np.arange(5), np.arange(10, 14), 2, 3)
    assert [(kind, ids.tolist()) for kind, ids in spans] == [
        ("text", [0, 1]),
        ("speech", [10, 11, 12]),
        ("text", [2, 3, 4]),
        ("speech", [13]),
    ]


@given(text=sequences(), speech=sequences(), seed=seeds, words=st.integers(1, 6))
def test_words_in_one_of_two_forms(text, speech, seed, words):
    text, speech = np.asarray(text), np.asarray(speech) + 10
    random = np.random.default_rng(seed)
    borders = list(
        zip(
            np.sort(random.integers(0, len(text) + 1, words)).tolist(),
            np.sort(random.integers(0, len(speech) + 1, words)).tolist(),
            strict=True,
        )
    )
    chosen = random.integers(0, 2, words).astype(bool).tolist()
    spans = interleave.alternate_at(text, speech, borders, chosen)
    kinds = [kind for kind, _ in spans]
    assert all(one != other for one, other in pairwise(kinds))
    again = interleave.split_spans(interleave.join_spans(spans, 98, 99), 98, 99)
    assert [(k, i.tolist()) for k, i in again] == [(k, i.tolist()) for k, i in spans]
    starts = [(0, 0), *borders[:-1]]
    expected = [
        speech[a[1] : b[1]] if c else text[a[0] : b[0]]
        for a, b, c in zip(starts, borders, chosen, strict=True)
    ]
    assert np.concatenate([ids for _, ids in spans]).tolist() == np.concatenate(expected).tolist()


def test_wrong_borders_and_marks():
    with pytest.raises(
        TokensError, match=r"Borders must rise .* 3 text and 2 speech ids, got \(4, 1\) after"
    ):
        interleave.alternate_at(np.arange(3), np.arange(2), [(4, 1)], [True])
    with pytest.raises(TokensError, match="must start with the mark 98 or 99, got 5"):
        interleave.split_spans(np.array([5, 98]), 98, 99)


# --- VALL-E ---


@given(text=sequences(), speech=sequences())
def test_ar_sequence(text, speech):
    if type(text) is not type(speech):
        speech = torch.as_tensor(speech) if isinstance(text, torch.Tensor) else np.asarray(speech)
    sequence = valle.ar_sequence(text, speech, bos=90, speech=91, eos=92)
    for ids in (sequence, sequence[:-1]):
        back = valle.split_ar_sequence(ids, speech=91, eos=92)
        assert same(back[0], text)
        assert same(back[1], speech)


def test_ar_sequence_without_speech():
    with pytest.raises(TokensError, match="must hold the mark 91 where speech starts"):
        valle.split_ar_sequence(np.array([1, 2]), speech=91, eos=92)


@given(codes=grids(min_codebooks=2, ndim=2), data=st.data())
def test_levels(codes, data):
    prompt_frames = data.draw(st.integers(0, codes.shape[1]))
    parts = [valle.nar_example(codes, level, prompt_frames) for level in range(1, codes.shape[0])]
    prompt, known, _ = parts[0]
    assert same(valle.join_levels(prompt, known[0], [target for *_, target in parts]), codes)
    assert all(same(known, codes[:level, prompt_frames:]) for level, (_, known, _) in enumerate(parts, 1))


# --- factors ---


@given(codes=grids(ndim=2), data=st.data())
def test_stages(codes, data):
    books, frames = codes.shape
    prompt = data.draw(st.integers(0, frames))
    random = np.random.default_rng(data.draw(seeds))
    for stage in range(books):
        masked = random.integers(0, 2, frames).astype(bool)
        masked = torch.from_numpy(masked) if isinstance(codes, torch.Tensor) else masked
        seen = factors.mask_stage(codes, range(books), stage, masked, mask=99, prompt_frames=prompt)
        labels = factors.stage_labels(codes, range(books), stage, masked, ignore=-100, prompt_frames=prompt)
        back = factors.unmask_stage(seen, labels, ignore=-100)
        assert same(back[: stage + 1], codes[: stage + 1])
        assert same(back[:, :prompt], codes[:, :prompt])
        assert bool((seen[stage + 1 :, prompt:] == 99).all())
        assert int((labels != -100).sum()) == int(masked[prompt:].sum())


@given(frames=st.integers(1, 200), time=st.floats(0, 1), seed=seeds)
def test_cosine_mask(frames, time, seed):
    hidden = factors.cosine_mask(frames, time, np.random.default_rng(seed))
    assert abs(hidden.sum() - max(1, np.sin(np.pi / 2 * time) * frames)) <= 0.5 + 1e-9
    assert factors.cosine_mask(frames, 1.0, np.random.default_rng(seed)).all()


def test_stages_of_factors():
    streams = [
        StreamInfo(name="content", num_codebooks=2, codebook_size=9, frame_rate=50.0, hop_length=320),
        StreamInfo(name="pitch", num_codebooks=1, codebook_size=9, frame_rate=25.0, hop_length=640),
    ]
    assert factors.stages_of(streams) == [("content", 0), ("content", 1), ("pitch", 0)]
    assert factors.stage_of_rows(streams) == [0, 1, 2, 0, 1]
