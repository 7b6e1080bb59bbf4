from pathlib import Path

import pytest
import yaml

import speechtok
from speechtok.cards import (
    card_folders,
    find_card,
    find_recipe,
    list_tokenizers,
    read_tokenizer_card,
)
from speechtok.errors import CardError
from speechtok.loading import FAMILIES

SHIPPED = Path(speechtok.__file__).parents[1] / "tokenizers"
CARDS = sorted(SHIPPED.rglob("*.y*ml"))


def plain():
    return yaml.safe_load((SHIPPED / "dmel_16k.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def card_file(tmp_path):
    """Write the dMel card with changes; None removes a field."""

    def write(changes, name="card.yaml"):
        content = {key: value for key, value in {**plain(), **changes}.items() if value is not None}
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return write


def refusal(path):
    with pytest.raises(CardError) as caught:
        read_tokenizer_card(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


# --- shipped cards ---


def test_there_are_cards():
    assert "dmel_16k" in [path.stem for path in CARDS]


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_shipped_card_loads(path):
    card = read_tokenizer_card(path)
    assert card.name == path.stem
    assert card.name in list_tokenizers()
    assert card.info("x").streams == card.streams
    assert card.family in FAMILIES
    assert card.citation
    assert card.description.endswith(".")


def test_no_python_beside_the_cards():
    assert not list(SHIPPED.rglob("*.py"))


def test_card_survives_writing(tmp_path):
    for path in CARDS:
        read_tokenizer_card(path).write(tmp_path / "copy.yaml")
        assert read_tokenizer_card(tmp_path / "copy.yaml") == read_tokenizer_card(path)


# --- what does not fit ---


def test_unknown_field_is_named(card_file):
    assert "has the unknown field licence_wights; did you mean 'licence_weights'" in refusal(
        card_file({"licence_wights": "MIT"})
    )


def test_unknown_fields_are_named(card_file):
    assert "has the unknown fields aaa, bbb" in refusal(card_file({"bbb": 1, "aaa": 2}))


def test_unknown_field_of_a_stream(card_file):
    assert "has the unknown field hop" in refusal(
        card_file({"streams": [{**plain()["streams"][0], "hop": 1}]})
    )


@pytest.mark.parametrize("field", ["name", "family", "description", "sample_rate", "streams", "licence_code"])
def test_missing_field_is_named(card_file, field):
    assert refusal(card_file({field: None})).endswith(f"lacks the field {field}.")


def test_missing_field_of_a_stream(card_file):
    assert "lacks the field streams.num_codebooks" in refusal(card_file({"streams": [{"name": "mel"}]}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sample_rate": "16 kHz"}, "has '16 kHz' in field sample_rate, which must be of type int."),
        ({"name": 7}, "has 7 in field name, which must be of type str."),
        ({"architecture": [1]}, "has [1] in field architecture, which must be of type dict."),
        ({"streams": "mel"}, "has 'mel' in field streams, which must be a list."),
        ({"files": "model.safetensors"}, "has 'model.safetensors' in field files, which must be a list."),
        ({"has_scale": "yes, it has"}, "which must be of type bool."),
    ],
)
def test_wrong_type_is_named(card_file, changes, sentence):
    assert sentence in refusal(card_file(changes))


def test_wrong_value_is_named(card_file):
    stream = {**plain()["streams"][0], "codebook_size": 0}
    assert "`codebook_size` of stream 'mel' must be at least 1" in refusal(card_file({"streams": [stream]}))


def test_whole_numbers_serve_as_rates(card_file):
    stream = {**plain()["streams"][0], "frame_rate": 50}
    card = read_tokenizer_card(card_file({"streams": [stream]}))
    assert card.streams[0].frame_rate == 50.0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: [1, 2", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
        (b"- a\n- b\n", "must hold a YAML mapping (`field: value` lines), but holds list."),
        (b"", "but holds NoneType."),
        (b"!!python/object/apply:os.system ['true']", "cannot be read as YAML"),
    ],
)
def test_not_a_mapping(tmp_path, content, sentence):
    (tmp_path / "card.yaml").write_bytes(content)
    assert sentence in refusal(tmp_path / "card.yaml")


def test_missing_file(tmp_path):
    assert refusal(tmp_path / "no.yaml") == f"There is no file '{tmp_path / 'no.yaml'}'."


# --- finding ---


def test_unknown_name_lists_the_nearest():
    with pytest.raises(
        CardError, match=r"no tokenizer 'dmel_16'; did you mean 'dmel_16k'.* lists those there are"
    ):
        find_card("dmel_16")
    with pytest.raises(CardError, match=r"There is no tokenizer 'zzzzzz'\. `speechtok tokenizers`"):
        find_card("zzzzzz")


def test_users_folders_come_first(card_file, tmp_path, monkeypatch):
    card_file({"name": "dmel_16k", "description": "Mine."}, "dmel_16k.yaml")
    card_file({"name": "other"}, "other.yaml")
    later = tmp_path / "later"
    later.mkdir()
    (later / "other.yaml").write_text("name: shadowed")
    monkeypatch.setenv("SPEECHTOK_CARDS", f"{tmp_path}:{tmp_path / 'missing'}::{later}")
    assert card_folders()[:2] == [tmp_path, later]
    assert find_card("dmel_16k")[0].description == "Mine."
    assert find_card("other") == (read_tokenizer_card(tmp_path / "other.yaml"), tmp_path / "other.yaml")
    assert "other" in list_tokenizers()
    monkeypatch.delenv("SPEECHTOK_CARDS")
    assert find_card("dmel_16k")[0].description != "Mine."
    assert "other" not in list_tokenizers()


def test_card_by_path(card_file):
    path = card_file({"name": "mine"})
    assert find_card(str(path))[0].name == find_card(path)[0].name == "mine"


def test_folder_without_a_card(tmp_path):
    with pytest.raises(
        CardError, match=r"is a folder without a tokenizer\.yaml; `save_pretrained` writes one"
    ):
        find_card(tmp_path)


def test_folder_called_like_a_tokenizer(tmp_path, monkeypatch):
    """As after `speechtok tokenize corpus dmel_16k`."""
    monkeypatch.chdir(tmp_path)
    Path("dmel_16k").mkdir()
    assert find_card("dmel_16k")[1].parent == SHIPPED


def test_unknown_recipe():
    with pytest.raises(CardError, match="There is no recipe zzzzzz"):
        find_recipe("zzzzzz")


def test_recipe_by_path(tmp_path):
    (tmp_path / "mine.yaml").write_text("a: 1")
    assert find_recipe(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"
    with pytest.raises(CardError, match="There is no recipe"):
        find_recipe(tmp_path / "other.yaml")


def test_a_name_that_acts_on_a_terminal(card_file):
    message = refusal(card_file({"name": "\x1b[2J"}))
    assert "must be letters, digits" in message
    assert "\x1b" not in message
