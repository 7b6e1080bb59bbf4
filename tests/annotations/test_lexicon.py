import pytest

from speechtok.annotations.lexicon import parse_lexicon, read_lexicon
from speechtok.errors import AnnotationError

PLAIN = """;;; a comment
Read  R EH1 D
read(2)  R IY1 D
the DH AH0
o'clock AH0 K L AA1 K
'em AH0 M
well-known W EH1 L N OW1 N
north N AO1 R TH
east IY1 S T
"""
PROBABILITIES = (
    "read\t0.4\t0.1\t1.0\t1.0\tR IY1 D\nread\t0.6\t0.1\t1.0\t1.0\tR EH1 D\nmá\t0.99\tm a 5\nspn\tspn\n"
)


def test_the_first_or_the_most_probable_pronunciation_counts():
    plain, weighed = parse_lexicon(PLAIN, "x"), parse_lexicon(PROBABILITIES, "x")
    assert plain.words["read"] == weighed.words["read"] == ("R", "EH1", "D")
    assert weighed.words["má"] == ("m", "a", "5")
    assert parse_lexicon("a 0.5 AH0\na 0.9 EY1", "x").words == {"a": ("EY1",)}
    assert parse_lexicon("a 1 b", "x").words == {"a": ("1", "b")}  # numbers without a point are phones
    assert weighed.phone_set == ("5", "D", "EH1", "R", "a", "m", "spn")


def test_words_are_found_in_texts():
    lexicon = parse_lexicon(PLAIN, "x")
    assert lexicon.split("“READ the—”  'em, o’clock!") == ["read", "the", "'em", "o'clock"]
    assert lexicon.split("'the' well-known north-east ...") == ["the", "well-known", "north", "east"]


def test_words_outside_are_named():
    lexicon = parse_lexicon(PLAIN, "x")
    with pytest.raises(
        AnnotationError, match=r"^The lexicon has no zyx, 12, north-zyx; write the text out, or add"
    ):
        lexicon.split("Zyx the 12 zyx north-zyx")
    with pytest.raises(AnnotationError, match=r"^The text has no words\.$"):
        lexicon.split("?! —")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a B\nword", r"x line 2 must be a word and its phones, got 'word'\."),
        ("a 0.5", r"x line 1 must be a word and its phones"),
        ("a\tone\tB", r"x line 1 must be a word and its phones"),
        ("", r"x has no words, so it is no lexicon\."),
    ],
)
def test_damage_is_named(text, says):
    with pytest.raises(AnnotationError, match=says):
        parse_lexicon(text, "x")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(AnnotationError, match=r"There is no lexicon '.*a\.dict'\."):
        read_lexicon(str(tmp_path / "a.dict"))
    (tmp_path / "b.dict").write_bytes(b"\xe4 A")
    with pytest.raises(AnnotationError, match=r"b\.dict is not UTF-8 \(.* at byte 0\); save it as UTF-8\."):
        read_lexicon(str(tmp_path / "b.dict"))
