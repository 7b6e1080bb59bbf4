import numpy as np
import pytest

from speechtok.corpora.originals import Originals, find_originals
from speechtok.engine.settings import RunSettings
from speechtok.report.listening import choose_rows, make_examples
from speechtok.report.plots import spectrogram_db
from speechtok.report.svg import drawing, to_svg
from speechtok.report.tables import MAX_FAILURES, MAX_GROUPS, group_rows, read_failures
from speechtok.shards.reader import TokenDataset
from speechtok.shards.statistics import compute_statistics
from speechtok.wording import count_text, duration_text, rate_text, size_text


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (duration_text, 0.04, "0.0 s"),
        (duration_text, 59.96, "1 min 00 s"),
        (duration_text, 3599.7, "1 h 00 min"),
        (duration_text, 723, "12 min 03 s"),
        (duration_text, 3.6e6, "1,000 h"),
        (size_text, 12, "12 bytes"),
        (size_text, 79929, "79.9 kB"),
        (size_text, 999_600, "1 MB"),
        (size_text, 2.5e12, "2.5 TB"),
        (rate_text, 825.4, "825 bit/s"),
        (rate_text, 16000, "16 kbit/s"),
        (rate_text, 14467, "14.47 kbit/s"),
    ],
)
def test_numbers_as_people_read_them(function, value, text):
    assert function(value) == text


def test_nouns_follow_their_count():
    assert [count_text(n, "row") for n in (0, 1, 1234)] == ["0 rows", "1 row", "1,234 rows"]
    assert count_text(2, "input was", "inputs were") == "2 inputs were"


def test_rows_are_spread_over_the_durations():
    durations = np.array([9.0, 1.0, 3.0, 5.0, 100.0, 7.0])
    assert choose_rows(durations, 3) == [1, 3, 0]
    assert choose_rows(durations, 6) == [1, 2, 3, 5, 0, 4]
    assert choose_rows(durations, 50) == [1, 2, 3, 5, 0, 4]
    assert choose_rows(np.full(4, 2.0), 2) == [1, 3]


def test_long_rows_are_played_from_their_beginning(tmp_path):
    from speechtok.audio.io import write_wav
    from speechtok.commands.tokenize import tokenize_corpus
    from speechtok.loading import load_tokenizer

    (tmp_path / "corpus").mkdir()
    write_wav(tmp_path / "corpus/a.wav", 0.2 * np.sin(np.arange(20 * 16000) * 0.1), 16000)
    (tmp_path / "corpus/all.csv").write_text("audio,start,duration\na.wav,1.5,3\na.wav,2,16\n")
    tokenize_corpus(tmp_path / "corpus/all.csv", tmp_path / "out", run=RunSettings(workers=1))
    rows, originals = TokenDataset(tmp_path / "out"), find_originals(tmp_path / "out", tmp_path / "corpus")
    assert sorted(originals.starts.values()) == [1.5, 2.0]
    short, long = make_examples(rows, [0, 1], load_tokenizer("dmel_16k"), originals)
    assert (short.seconds, long.seconds, long.duration) == (3.0, 15.0, 16.0)
    wanted = 0.2 * np.sin((np.arange(15 * 16000) + 2 * 16000) * 0.1)
    np.testing.assert_allclose(long.original, wanted, atol=1e-4)
    np.testing.assert_allclose(short.original, 0.2 * np.sin((np.arange(48000) + 24000) * 0.1), atol=1e-4)


def test_an_original_that_is_damaged_by_now_is_named(dataset, tmp_path):
    from speechtok.loading import load_tokenizer

    rows = TokenDataset(dataset)
    (tmp_path / "de").mkdir()
    (tmp_path / rows[0]["audio"]).write_bytes(b"not audio")
    originals = Originals(root=tmp_path)
    (example,) = make_examples(rows, [0], load_tokenizer("dmel_16k"), originals)
    assert example.original is None
    assert "cannot be read any more: Cannot read" in example.missing


def test_groups_beyond_the_first_are_summed(write_tokens):
    names = [f"s{number % 15}" for number in range(30)] + [None]
    path = write_tokens([("units", 1, 8)], [1.0] * 31, [{"speaker": name} for name in names])
    groups = group_rows(path, compute_statistics(path))
    speakers = groups["speaker"]
    assert groups["language"] is None
    assert groups["split"] is None
    assert (len(speakers.listed), speakers.others, speakers.rest.rows) == (MAX_GROUPS, 6, 11)
    assert sum(group.seconds for group in speakers.listed) + speakers.rest.seconds == 31


def test_a_long_quarantine_is_cut(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "quarantine").mkdir()
    rows = [{"id": str(n), "audio": "", "stage": "", "error": "", "message": ""} for n in range(MAX_FAILURES)]
    for split in ("dev", "train"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"quarantine/{split}.parquet")
    failures = read_failures(tmp_path)
    assert (failures.total, len(failures.listed)) == (2 * MAX_FAILURES, MAX_FAILURES)


def test_a_spectrogram_peaks_at_the_tone():
    levels = spectrogram_db(np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000), 16000)
    assert levels.shape[0] == 201
    assert (levels[:, 5:-5].argmax(axis=0) == 25).all()
    assert np.isfinite(spectrogram_db(np.zeros(3), 16000)).all()


def test_drawing_leaves_the_users_settings_alone():
    import matplotlib

    with matplotlib.rc_context({"font.size": 33.0}):
        with drawing(2.0) as (figure, (axes,)):
            axes.plot([1, 2])
            first = to_svg(figure, "one", 'a "curve" <b>')
        assert matplotlib.rcParams["font.size"] == 33.0
    with drawing(2.0) as (figure, (axes,)):
        axes.plot([1, 2])
        assert to_svg(figure, "one", 'a "curve" <b>') == first
    assert 'aria-label="a &#34;curve&#34; &lt;b&gt;"' in first
    assert "font-family" not in first
    assert "DejaVu" not in first
