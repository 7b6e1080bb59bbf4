"""Alignment: by pocketsphinx, by a CTC model, from files; durations that sum to the frames."""

from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from speechtok.annotations import Row, load_annotation, packages
from speechtok.audio.io import read_waveform
from speechtok.demo.demonstration import CORPUS
from speechtok.errors import AnnotationError
from speechtok.formats.intervals import Interval
from speechtok.formats.textgrid import format_textgrid
from speechtok.tokens import StreamInfo

STREAMS = (
    StreamInfo(name="content", num_codebooks=1, codebook_size=8, frame_rate=50.0, hop_length=320),
    StreamInfo(name="Fine-1", num_codebooks=1, codebook_size=8, frame_rate=75.0, hop_length=320),
)
TEXT = "Nothing is lost twice, and nothing is counted twice."


def row_of(name="a", text=None, waveform=None, seconds=1.0, **columns):
    samples = np.zeros(round(16000 * seconds), np.float32) if waveform is None else waveform
    seconds = len(samples) / 16000
    return Row(
        id=name,
        duration=seconds,
        text=text,
        columns=columns,
        waveform=samples,
        sample_rate=16000,
        streams=STREAMS,
        num_frames={item.name: int(np.ceil(seconds * item.frame_rate)) for item in STREAMS},
    )


@pytest.fixture(scope="module")
def clip():
    return read_waveform(CORPUS.parent / "en-us/ada-2.flac", sample_rate=16000).samples.astype(np.float32)


@pytest.fixture(scope="module")
def aligned(clip):
    return load_annotation("alignment")(row_of(text=TEXT, waveform=clip, language="en-us"))


def check_tiling(values, row, unit="phone"):
    starts, ends = values[f"{unit}_start"], values[f"{unit}_end"]
    assert starts == [0.0, *ends[:-1]]
    assert ends[-1] == row.duration
    for stream, name in (("content", "content"), ("Fine-1", "fine_1")):
        counts = values[f"{unit}_frames_{name}"]
        assert len(counts) == len(starts)
        assert sum(counts) == row.num_frames[stream]


def test_pocketsphinx_finds_words_and_phones(aligned, clip):
    assert aligned["word"] == ["nothing", "is", "lost", "twice", "and", "nothing", "is", "counted", "twice"]
    check_tiling(aligned, row_of(waveform=clip))
    spoken = [phone for phone in aligned["phone"] if phone != "SIL"]
    phones = load_annotation("phones")(row_of(text=TEXT))["phones"]
    assert sum(one == other for one, other in zip(spoken, phones, strict=True)) > 0.8 * len(phones)
    inside = zip(aligned["word_start"], aligned["word_end"], strict=True)
    assert all({start, end} <= {*aligned["phone_start"], *aligned["phone_end"]} for start, end in inside)


def test_a_row_is_aligned_the_same_whatever_came_before(aligned, clip):
    alignment = load_annotation("alignment")
    with pytest.raises(AnnotationError):
        alignment(row_of(text="something else altogether", waveform=clip[::2] + 0.1))
    alignment(row_of(text="twice", waveform=clip[-12000:]))
    assert alignment(row_of(text=TEXT, waveform=clip)) == aligned


@pytest.mark.parametrize(
    "text", ["The kettle sings in the kitchen while rain taps softly on the window.", "yes", "nothing " * 200]
)
def test_a_text_that_does_not_fit_is_refused(text, clip):
    with pytest.raises(AnnotationError, match=r"^The text does not fit the audio: "):
        load_annotation("alignment")(row_of(text=text, waveform=clip))


@pytest.mark.parametrize("samples", [0, 1, 100, 400])
def test_next_to_no_audio_is_refused(samples):
    with pytest.raises(AnnotationError, match=r"^The text does not fit the audio: "):
        load_annotation("alignment")(row_of(text="hello", waveform=np.zeros(samples, np.float32)))


def test_rows_that_are_too_long_are_refused(clip):
    row = row_of(text=TEXT, waveform=clip)
    with pytest.raises(
        AnnotationError,
        match=r"^The row is 3\.\d+ s long, and only those of up to 2 s are aligned; segment recordings",
    ):
        load_annotation("alignment", max_seconds=2.0)(row)
    with pytest.raises(ValueError, match=r"`max_seconds` must be above 0, got 0\."):
        load_annotation("alignment", max_seconds=0.0)


def test_words_and_phones_come_from_ones_own_lexicon_too(clip, tmp_path):
    path = tmp_path / "words.dict"
    path.write_text("nuthing N AH1 TH IH0 NG\nbad B Æ D\nzyxbad Æ\n", encoding="utf-8")
    alignment = load_annotation("alignment", lexicon=str(path))
    assert alignment(row_of(text=TEXT.replace("Nothing", "Nuthing"), waveform=clip))["word"][0] == "nuthing"
    with pytest.raises(
        AnnotationError, match=r"^The lexicon gives 'zyxbad' the phone 'Æ', which pocketsphinx does not know"
    ):
        alignment(row_of(text="zyxbad", waveform=clip))
    with pytest.raises(AnnotationError, match=r"^The lexicon has no zyx;"):
        alignment(row_of(text="zyx", waveform=clip))
    with pytest.raises(AnnotationError, match=r"^The row is in 'de', but pocketsphinx's model is for 'en'"):
        alignment(row_of(text="ja", waveform=clip, language="de"))
    assert {"lexicon", "mdef", "cmudict-en-us.dict"} <= set(alignment.files())


def test_columns_are_typed_and_documented():
    alignment = load_annotation("alignment")
    columns = {column.name: column for column in alignment.columns(STREAMS)}
    assert list(columns) == [
        *("phone", "phone_start", "phone_end", "word", "word_start", "word_end"),
        *("phone_frames_content", "phone_frames_fine_1"),
    ]
    assert columns["phone_start"].unit == "s"
    assert columns["phone_frames_content"].type == "list<int32>"
    facts = alignment.facts()
    assert facts["phone_set"][0] == facts["silence"] == "SIL"
    assert len(facts["phone_set"]) == 40
    twins = [
        StreamInfo(name=name, num_codebooks=1, codebook_size=8, frame_rate=50.0, hop_length=320)
        for name in ("a-b", "A_b")
    ]
    with pytest.raises(
        AnnotationError, match=r"^Two streams have names that differ only in case and signs; rename one\.$"
    ):
        alignment.columns(twins)


def grid(path, phones, words=(), seconds=1.0):
    tiers = {
        "words": [Interval(start=a, end=b, label=label) for a, b, label in words],
        "phones": [Interval(start=a, end=b, label=label) for a, b, label in phones],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(format_textgrid({name: items for name, items in tiers.items() if items}, seconds))


def from_files(folder, **settings):
    return load_annotation("alignment", aligner="files", folder=str(folder), **settings)


def test_what_was_aligned_is_read_back_from_textgrids(aligned, clip, tmp_path):
    phones = zip(aligned["phone_start"], aligned["phone_end"], aligned["phone"], strict=True)
    words = zip(aligned["word_start"], aligned["word_end"], aligned["word"], strict=True)
    grid(tmp_path / "a.TextGrid", list(phones), list(words), len(clip) / 16000)
    assert from_files(tmp_path)(row_of(waveform=clip)) == aligned


def test_files_are_found_by_id(tmp_path):
    grid(tmp_path / "x" / "1.TextGrid", [(0, 0.5, "a")])
    grid(tmp_path / "y" / "1.TextGrid", [(0, 0.5, "b")])
    grid(tmp_path / "y" / "2.TextGrid", [(0, 0.5, "c"), (0.5, 1, "sp")])
    alignment = from_files(tmp_path)
    assert alignment(row_of("x/1"))["phone"] == ["a", "SIL"]
    assert alignment(row_of("y/1"))["phone"] == ["b", "SIL"]
    assert alignment(row_of("corpus/2"))["phone_frames_content"] == [25, 25]
    assert alignment(row_of("2"))["word"] is None
    assert alignment.facts()["phone_set"] == ["SIL", "a", "b", "c"]
    with pytest.raises(
        AnnotationError,
        match=r"x/1\.TextGrid and .*y/1\.TextGrid could both be of '1'; name them by their ids",
    ):
        alignment(row_of("1"))
    with pytest.raises(AnnotationError, match=r"^\S+ has no alignment of '3'\.$"):
        alignment(row_of("3"))


@pytest.mark.parametrize(
    ("phones", "seconds", "settings", "says"),
    [
        (
            [(0, 1, "a")],
            2.0,
            {},
            r"a\.TextGrid: it is 2 s long, but the audio 1 s; it is of another recording, or damaged\.",
        ),
        (
            [(0, 1.5, "a")],
            1.0,
            {},
            r"a\.TextGrid: the interval 'a' ends at 1\.5 s, but the audio has 1 s; it is of another",
        ),
        (
            [(0, 0.5, "a"), (0.3, 1, "b")],
            1.0,
            {},
            r"a\.TextGrid: the interval 'b' from 0\.3 to 1 s overlaps the one before",
        ),
        (
            [(0, 0.5, "spn")],
            1.0,
            {},
            r"a\.TextGrid: A word from 0 to 0\.5 s is outside the aligner's lexicon \(spn\)",
        ),
        ([], 1.0, {}, r"a\.TextGrid: There are no phones; align again, or set alignment\.unit=words\."),
        (
            [(0, 1, "a")],
            1.0,
            {"unit": "words"},
            r"a\.TextGrid: There are no words; align again, or set alignment\.unit=phones\.",
        ),
    ],
)
def test_bad_textgrids_are_named(phones, seconds, settings, says, tmp_path):
    grid(tmp_path / "a.TextGrid", phones, seconds=seconds)
    with pytest.raises(AnnotationError, match=says):
        from_files(tmp_path, **settings)(row_of())


def test_unknown_phones_are_named(tmp_path):
    grid(tmp_path / "a" / "a.TextGrid", [(0, 0.5, "a"), (0.5, 1, "q")])
    (tmp_path / "words.dict").write_text("ab a b\n")
    alignment = from_files(tmp_path / "a", lexicon=str(tmp_path / "words.dict"))
    assert alignment.facts()["phone_set"] == ["SIL", "a", "b"]
    with pytest.raises(
        AnnotationError,
        match=r"a\.TextGrid: The phone 'q' is not in the lexicon, which has a b; give the one",
    ):
        alignment(row_of())


def test_two_speakers_in_one_file_are_refused(tmp_path):
    tier = [Interval(start=0, end=1, label="a")]
    (tmp_path / "a.TextGrid").write_text(format_textgrid({"ann - phones": tier, "bob - phones": tier}, 1.0))
    with pytest.raises(
        AnnotationError, match=r"a\.TextGrid has 2 tiers of phones; give a file for each speaker\."
    ):
        from_files(tmp_path)(row_of())
    (tmp_path / "a.TextGrid").write_text("nothing")
    with pytest.raises(AnnotationError, match=r"a\.TextGrid line 1 is the last that can be read"):
        from_files(tmp_path)(row_of())
    assert from_files(tmp_path).facts()["phone_set"] == ["SIL"]


def test_words_alone_get_durations_where_asked(tmp_path):
    grid(tmp_path / "a.TextGrid", [], [(0.1, 0.5, "pau"), (0.5, 0.9, "so")])
    alignment = from_files(tmp_path, unit="words")
    values = alignment(row_of())
    assert values["word"] == ["SIL", "pau", "so", "SIL"]
    assert values["word_frames_content"] == [5, 20, 20, 5]
    assert set(values) == {column.name for column in alignment.columns(STREAMS)}
    assert "phone_set" not in alignment.facts()


def test_ctm_files_state_ids(tmp_path):
    (tmp_path / "phones.ctm").write_text("a 1 0.1 0.3 p\na 1 0.4 0.6 q\nb 1 0 1 p\n")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.ctm").write_text("a 1 0.1 0.9 word\n")
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "a.ctm").write_text("a 1 0.1 0.9 a<space>word\n")
    values = from_files(tmp_path)(row_of())
    assert values["phone"] == ["SIL", "p", "q"]
    assert (values["word"], values["word_start"]) == (["word"], [0.1])
    (tmp_path / "again.ctm").write_text("b 1 0 0.5 q\n")
    with pytest.raises(AnnotationError, match=r"both have alignments of 'b'; leave one out\."):
        from_files(f"{tmp_path}/.")(row_of())


def test_alignments_of_lhotse(tmp_path):
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment, SupervisionSet
    from lhotse.supervision import AlignmentItem

    items = {
        "word": [AlignmentItem("so", 2.1, 0.5)],
        "phone": [AlignmentItem("s", 2.1, 0.2), AlignmentItem("ow", 2.3, 0.3)],
    }
    supervision = SupervisionSegment(id="s", recording_id="r", start=2.0, duration=1.0, alignment=items)
    SupervisionSet.from_segments([supervision]).to_file(tmp_path / "supervisions.jsonl.gz")
    values = from_files(tmp_path / "supervisions.jsonl.gz")(row_of("s"))
    assert values["phone"] == ["SIL", "s", "ow", "SIL"]
    assert values["phone_start"] == pytest.approx([0, 0.1, 0.3, 0.6])
    recording = Recording(id="r", sources=[], sampling_rate=16000, num_samples=64000, duration=4.0)
    cut = MonoCut(
        id="c",
        start=1.5,
        duration=2.0,
        channel=0,
        recording=recording,
        supervisions=[supervision.with_offset(-1.5)],
    )
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    cuts = from_files(tmp_path / "cuts.jsonl")
    assert cuts(row_of("c", seconds=2.0))["phone_start"] == pytest.approx([0, 0.6, 0.8, 1.1])
    assert cuts(row_of("s"))["phone_start"] == pytest.approx([0, 0.1, 0.3, 0.6])


def test_manifests_of_nemo(tmp_path):
    for kind, lines in (
        ("tokens", "a 1 0 0.5 h NA lex\n"),
        ("words", "a 1 0 0.5 hi NA lex\n"),
        ("segments", "x"),
    ):
        (tmp_path / "ctm" / kind).mkdir(parents=True)
        (tmp_path / "ctm" / kind / "a.ctm").write_text(lines)
    line = ", ".join(
        f'"{kind}_level_ctm_filepath": "ctm/{kind}/a.ctm"' for kind in ("tokens", "words", "segments")
    )
    manifest = tmp_path / "with_ctm.json"
    manifest.write_text(f'{{"audio_filepath": "a.wav", {line}}}\n')
    values = from_files(manifest)(row_of())
    assert (values["phone"], values["word"]) == (["h", "SIL"], ["hi"])
    assert from_files(tmp_path)(row_of()) == values
    manifest = tmp_path / "outside.json"
    manifest.write_text('{"words_level_ctm_filepath": "../x.ctm"}\n')
    with pytest.raises(
        AnnotationError, match=r"outside\.json line 1 names \.\./x\.ctm, which does not lie below"
    ):
        from_files(manifest)(row_of())
    manifest = tmp_path / "other.json"
    manifest.write_text('{"audio": 1}\n')
    with pytest.raises(
        AnnotationError, match=r"other\.json line 1 is neither of lhotse nor of NeMo's aligner"
    ):
        from_files(manifest)(row_of())


def test_settings_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match=r"`folder` goes with the aligner files, not with pocketsphinx\."):
        load_annotation("alignment", folder="x")
    with pytest.raises(ValueError, match=r"`checkpoint` goes with the aligner ctc, not with files\."):
        load_annotation("alignment", aligner="files", checkpoint="x")
    with pytest.raises(
        ValueError, match=r"`lexicon` goes with the aligners pocketsphinx and files, not with ctc\."
    ):
        load_annotation("alignment", aligner="ctc", lexicon="x")
    with pytest.raises(ValueError, match=r"`silence` must be a symbol, got ''\."):
        load_annotation("alignment", silence="")
    with pytest.raises(ValueError, match=r"`tolerance_seconds` must be at least 0, got -1\."):
        load_annotation("alignment", tolerance_seconds=-1)
    with pytest.raises(ValueError, match="aligner"):
        load_annotation("alignment", aligner="mfa")
    with pytest.raises(
        AnnotationError, match=r"The aligner 'files' needs a folder: --set alignment\.folder=FOLDER\."
    ):
        load_annotation("alignment", aligner="files").files()
    with pytest.raises(
        AnnotationError, match=r"The aligner 'ctc' needs a model: --set alignment\.checkpoint=FOLDER\."
    ):
        load_annotation("alignment", aligner="ctc").files()
    with pytest.raises(AnnotationError, match=r"There are no alignments in '.*nowhere'; give the folder as"):
        from_files(tmp_path / "nowhere").files()
    with pytest.raises(AnnotationError, match=r"has no files of alignments; known are \.textgrid, \.ctm"):
        from_files(tmp_path).files()


def test_missing_packages_are_named(monkeypatch):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "version", version)
    with pytest.raises(
        AnnotationError,
        match=r"'alignment' needs the package pocketsphinx: pip install 'speechtok\[align\]'\.",
    ):
        load_annotation("alignment").files()
