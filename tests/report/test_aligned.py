"""Words and phones over the spectrogram of a row."""

import pytest

from speechtok.formats.intervals import Interval
from speechtok.report import write_report
from speechtok.report.aligned import PIXELS_PER_SECOND, draw_alignment, read_intervals
from speechtok.shards.reader import TokenDataset
from tests.conftest import speech

ROW = {
    "phone": ["SIL", "<b>ə", "$t$"],
    "phone_start": [0.0, 0.5, 1.0],
    "phone_end": [0.5, 1.0, 2.0],
    "word": ["a & b"],
    "word_start": [0.5],
    "word_end": [2.0],
}


def test_boxes_lie_where_their_times_are():
    words, phones = read_intervals(ROW, "word"), read_intervals(ROW, "phone")
    picture = draw_alignment(speech(1.5), 16000, words, phones)
    assert picture.width == 1.5 * PIXELS_PER_SECOND
    assert [(box.left, box.right) for box in picture.phones] == [
        (0, PIXELS_PER_SECOND / 2),
        (PIXELS_PER_SECOND / 2, PIXELS_PER_SECOND),
        (PIXELS_PER_SECOND, picture.width),
    ]
    assert picture.words[0].middle == PIXELS_PER_SECOND
    assert picture.ticks == ((PIXELS_PER_SECOND / 2, "0.5 s"), (PIXELS_PER_SECOND, "1 s"))
    assert picture.image.startswith("data:image/png;base64,")
    assert draw_alignment(speech(1.5), 16000, words, phones) == picture
    late = Interval(start=1.5, end=2.0, label="late")
    assert draw_alignment(speech(1.5), 16000, [late], []).words == ()


@pytest.mark.parametrize(
    "change",
    [
        {"word": None},
        {"word": "text"},
        {"word": 1},
        {"word_start": [0.5, 0.6]},
        {"word_start": ["now"]},
        {"word_start": [None]},
        {"word_end": [0.1]},
        {"word_end": [float("nan")]},
        {"word_end": [float("inf")]},
    ],
)
def test_columns_that_hold_something_else_are_no_alignment(change):
    assert read_intervals({**ROW, **change}, "word") == ()


def test_the_page_shows_alignments_and_escapes_their_labels(dataset, tmp_path, read_page, monkeypatch):
    plain = TokenDataset.__getitem__
    monkeypatch.setattr(TokenDataset, "__getitem__", lambda self, index: plain(self, index) | ROW)
    write_report(dataset, tmp_path / "report.html", examples=1)
    page = read_page(tmp_path / "report.html")
    for text in ("a & b", "<b>ə", "$t$"):
        assert text in page.text
    (picture,) = [item for item in page.all("svg") if item["aria-label"].startswith("Words and phones")]
    assert picture["aria-label"].endswith("of the reconstruction, 1 words and 3 phones, 0 to 8 kHz.")
    assert any(item.get("preserveaspectratio") == "none" for item in page.all("image"))
