import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.errors import DatasetError
from speechtok.formats.intervals import SILENT_WORDS, Interval, frame_counts, tile


def intervals(*rows):
    return [Interval(start=start, end=end, label=label) for start, end, label in rows]


def rows(found):
    return [(item.start, item.end, item.label) for item in found]


@st.composite
def spoken(draw):
    """Intervals in order, with and without gaps, and the length of the audio."""
    steps = draw(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), max_size=12))
    now, made = 0.0, []
    for number, (gap, length) in enumerate(steps):
        start = now + gap
        now = start + length
        made.append(
            Interval(start=start, end=now, label=draw(st.sampled_from(["a", "b", "", "sil", f"p{number}"])))
        )
    return made, now + draw(st.floats(0.01, 1))


@given(spoken())
def test_intervals_tile_the_audio_and_lose_no_label(case):
    given_, seconds = case
    found = tile(given_, seconds, silence="SIL")
    assert found[0].start == 0
    assert found[-1].end == seconds
    for before, after in itertools.pairwise(found):
        assert before.end == after.start
        assert not before.label == after.label == "SIL"
    assert all(item.start <= item.end for item in found)
    said = [item.label for item in given_ if item.label not in ("", "sil")]
    assert [item.label for item in found if item.label != "SIL"] == said


@given(
    spoken(), st.sampled_from([(16000, 320), (16000, 200), (24000, 1920), (44100, 512)]), st.integers(0, 3)
)
def test_frames_sum_to_those_of_the_audio(case, rates, more):
    given_, seconds = case
    rate, hop = rates
    num_frames = int(np.ceil(seconds * rate / hop)) + more
    ends = [item.end for item in tile(given_, seconds, silence="SIL")]
    counts = frame_counts(ends, num_frames, rate / hop)
    assert sum(counts) == num_frames
    assert min(counts) >= 0
    edges = np.cumsum(counts)[:-1]
    assert np.all(np.abs(edges - np.array(ends[:-1]) * rate / hop) <= 0.5 + 1e-6)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.integers(0, 100))
def test_frames_sum_whatever_the_ends(ends, num_frames):
    counts = frame_counts(ends, num_frames, 50.0)
    assert sum(counts) == num_frames
    assert min(counts) >= 0


def test_boundaries_go_to_the_nearest_frame_edge():
    assert frame_counts([0.029, 0.05, 0.051, 0.2], 11, 50.0) == [1, 2, 0, 8]  # 1.45, 2.5 and 2.55 frames
    with pytest.raises(ValueError, match=r"`ends` must hold the end of at least one interval\."):
        frame_counts([], 3, 50.0)


def test_gaps_are_silence_and_rounding_is_none():
    found = tile(
        intervals((0.1, 0.2, "a"), (0.21, 0.3, "b"), (0.295, 0.4, "c"), (0.6, 0.7, "")), 1.0, silence="SIL"
    )
    assert rows(found) == [
        (0.0, 0.1, "SIL"),
        (0.1, 0.21, "a"),
        (0.21, 0.295, "b"),
        (0.295, 0.4, "c"),
        (0.4, 1.0, "SIL"),
    ]
    assert rows(tile([], 1.0, silence="SIL")) == [(0.0, 1.0, "SIL")]
    assert rows(tile(intervals((0, 1.08, "a")), 1.0, silence="SIL")) == [(0.0, 1.0, "a")]


def test_words_that_are_called_like_silent_phones_stay():
    found = tile(intervals((0, 1, "pau"), (1, 2, "<eps>")), 2.0, silence="SIL", silences=SILENT_WORDS)
    assert rows(found) == [(0, 1, "pau"), (1, 2.0, "SIL")]


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        (
            ((0, 0.5, "a"), (0.4, 0.6, "b")),
            r"'b' from 0\.4 to 0\.6 s overlaps the one before, which ends at 0\.5 s",
        ),
        (((0, 1.2, "a"),), r"'a' ends at 1\.2 s, but the audio has 1 s"),
        (((0.5, 0.4, "a"),), r"'a' goes from 0\.5 to 0\.4 s"),
        (((-1, 0.4, "a"),), r"'a' goes from -1 to 0\.4 s"),
        (((float("nan"), 0.4, "a"),), r"'a' goes from nan to 0\.4 s"),
    ],
)
def test_what_cannot_be_is_refused(given_, says):
    with pytest.raises(DatasetError, match=says):
        tile(intervals(*given_), 1.0, silence="SIL")
