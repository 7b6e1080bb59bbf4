from importlib.metadata import PackageNotFoundError

import pytest

from speechtok.annotations import Row, load_annotation, packages
from speechtok.errors import AnnotationError


def row(text, **columns):
    return Row(id="a", duration=1.0, text=text, columns=columns)


@pytest.fixture
def lexicon(tmp_path):
    path = tmp_path / "words.dict"
    path.write_text("hallo\t0.9\th a ˈl oː\nwelt\tv ɛ l t\nabba\tAE1 B AH0\n", encoding="utf-8")
    return path


def test_english_needs_no_more_than_a_package():
    phones = load_annotation("phones")
    assert phones(row("Hello, World!")) == {"phones": ["HH", "AH", "L", "OW", "W", "ER", "L", "D"]}
    assert len(phones.facts()["phone_set"]) == 39
    assert set(phones.files()) == {"cmudict-en-us.dict"}
    (column,) = phones.columns(())
    assert (column.name, column.type) == ("phones", "list<string>")


def test_the_normalized_text_comes_first():
    phones = load_annotation("phones")
    assert phones(row("2", text_normalized="two")) == {"phones": ["T", "UW"]}
    with pytest.raises(AnnotationError, match=r"^The lexicon has no 2;"):
        phones(row("2", text_normalized=None))


def test_a_lexicon_of_ones_own(lexicon):
    phones = load_annotation("phones", lexicon=str(lexicon))
    assert phones(row("Hallo Abba", language="de")) == {"phones": ["h", "a", "ˈl", "oː", "AE1", "B", "AH0"]}
    assert phones.facts()["phone_set"] == sorted(
        ["h", "a", "ˈl", "oː", "v", "ɛ", "l", "t", "AE1", "B", "AH0"]
    )
    assert "lexicon" not in phones.settings()
    bare = load_annotation("phones", lexicon=str(lexicon), stress=False)
    assert bare(row("Hallo Abba")) == {"phones": ["h", "a", "l", "oː", "AE", "B", "AH"]}
    assert bare.facts()["phone_set"] == ["AE", "AH", "B", "a", "h", "l", "oː", "t", "v", "ɛ"]


def test_espeak_speaks_many_languages():
    german = load_annotation("phones", espeak="de")
    assert german.files() == {}
    assert german(row("Guten Morgen, Welt", language="de-DE")) == {
        "phones": ["ɡ", "ˈuː", "t", "ə", "n", "m", "ˈɔ", "ɾ", "ɡ", "ə", "n", "v", "ˈɛ", "l", "t"]
    }
    assert load_annotation("phones", espeak="de", stress=False)(row("Welt")) == {
        "phones": ["v", "ɛ", "l", "t"]
    }
    assert german.facts()["espeak_ng"].startswith("1.")
    with pytest.raises(AnnotationError, match=r"^The text has no words\.$"):
        german(row("…"))


def test_a_language_is_never_guessed():
    with pytest.raises(AnnotationError, match=r"^The row is in 'de', but CMUdict is for 'en'\.$"):
        load_annotation("phones")(row("hallo", language="de"))
    with pytest.raises(
        AnnotationError, match=r"^The row is in 'en-GB', but the voice of espeak-ng is for 'de'\.$"
    ):
        load_annotation("phones", espeak="de")(row("hello", language="en-GB"))


def test_settings_that_cannot_be(lexicon):
    with pytest.raises(ValueError, match=r"give `lexicon` or `espeak`, not both"):
        load_annotation("phones", lexicon=str(lexicon), espeak="de")
    with pytest.raises(AnnotationError, match=r"^espeak-ng has no voice 'klingon-x'; it has \d+, such as"):
        load_annotation("phones", espeak="klingon-x").files()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, r"The annotation 'phones' needs the package pocketsphinx: pip install 'speechtok\[align\]'\."),
        (
            {"espeak": "de"},
            r"The annotation 'phones' needs the package phonemizer: pip install 'speechtok\[espeak\]'\.",
        ),
    ],
)
def test_missing_packages_are_named(settings, says, monkeypatch):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "version", version)
    with pytest.raises(AnnotationError, match=says):
        load_annotation("phones", **settings).files()
