import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.annotations import Row, load_annotation
from speechtok.annotations.text_normalized import normalize
from speechtok.errors import AnnotationError


@pytest.mark.parametrize(
    ("text", "language", "spoken"),
    [
        (
            "Mr. Jones & I didn’t buy 12 “ripe” pears—",
            "en",
            "mister jones and i didn't buy twelve ripe pears",
        ),
        (
            "The 21st of May, 1,250.5 m",
            "en-US",
            "the twenty first of may one thousand two hundred and fifty point five m",
        ),
        ("It rose by 5 %.", "eng", "it rose by five percent"),
        ("Er hat 21 Äpfel", "de", "er hat einundzwanzig äpfel"),
        ("J'ai 80 ans", "fr-FR", "j'ai quatre vingts ans"),
        ("नमस्ते", "hi", "नमस्ते"),
        ("'quoted' rock'n'roll", "en", "quoted rock'n'roll"),
    ],
)
def test_texts_as_they_are_spoken(text, language, spoken):
    assert normalize(text, language) == spoken


def test_years_are_read_as_years_where_asked():
    assert normalize("1455 and 12 in 2,455", "en", years=True).startswith(
        "fourteen fifty five and twelve in two thousand"
    )
    assert normalize("1984", "de", years=True) == "neunzehnhundertvierundachtzig"


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.sampled_from(["en", "de", "xx"]))
def test_what_is_normalized_stays(text, language):
    try:
        once = normalize(text, language)
    except AnnotationError as error:
        assert str(error).endswith((".", ")"))  # noqa: PT017
        return
    assert not any(character.isdigit() for character in once)
    assert normalize(once, language) == once


@pytest.mark.parametrize(
    ("text", "language", "says"),
    [
        ("It costs 5 €", "en", r"^The text has '€', which can be read in several ways; write it out\.$"),
        ("the 1990s", "en", r"The text has '1990s', which can be read"),
        ("B2B", "en", r"The text has 'B2B', which can be read"),
        ("am 1.5.2020", "de", r"The text has '1\.5\.2020', which can be read"),
        ("5 x", "xx", r"There are no words for numbers in 'xx'; write '5' out\."),
        ("?!", "en", r"^The text has no words\.$"),
        ("1" * 400, "en", r"The number '1+' has no words \(.*\); write it out\."),
    ],
)
def test_nothing_is_guessed(text, language, says):
    with pytest.raises(AnnotationError, match=says):
        normalize(text, language)


def test_the_language_is_stated():
    row = Row(id="a", duration=1.0, text="12", columns={"language": "de"})
    assert load_annotation("text_normalized")(row) == {"text_normalized": "zwölf"}
    assert load_annotation("text_normalized", language="en")(row) == {"text_normalized": "twelve"}
    with pytest.raises(
        AnnotationError,
        match=r"The row states no language; give it with --set text_normalized\.language=en\.",
    ):
        load_annotation("text_normalized")(Row(id="a", duration=1.0, text="12"))
