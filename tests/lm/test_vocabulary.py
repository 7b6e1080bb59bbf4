import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechtok.cards import find_card, list_tokenizers
from speechtok.errors import TokensError
from speechtok.lm import Vocabulary


@pytest.fixture
def vocabulary(factors):
    return Vocabulary.of(factors, text="ab c", speakers=["Ana B", "bo"], num_durations=3, specials=["turn"])


def test_ids_are_consecutive_and_blocks_cover_them(vocabulary):
    ids = [index for block in vocabulary.blocks.values() for index in block]
    assert ids == list(range(len(vocabulary)))
    assert len(vocabulary.tokens) == len(vocabulary) == 7 + 4 + 2 + 3 + 6 * 8
    assert [vocabulary.token(index) for index in ids] == list(vocabulary.tokens)


def test_worked_example(vocabulary):
    assert (vocabulary.pad_id, vocabulary.bos_id) == (0, 1)
    assert vocabulary.special("turn") == 6
    assert vocabulary.text_ids("a c") == [7, 9, 10]
    assert vocabulary.speaker_id("bo") == 12
    assert vocabulary.range_of("content", 1) == range(32, 40)
    assert vocabulary.token(33) == "<content_1_1>"
    assert vocabulary.code_ids(np.array([[0], [1]]), "content").tolist() == [[24], [33]]
    assert (vocabulary.head_size, vocabulary.head_special("mask")) == (8 + 7, 8 + 3)


@pytest.mark.parametrize("name", list_tokenizers())
def test_every_card_has_a_vocabulary(name):
    card, _ = find_card(name)
    vocabulary = Vocabulary.of(card)
    assert len(vocabulary) == 6 + sum(s.num_codebooks * s.codebook_size for s in card.streams)
    assert (vocabulary.tokenizer, vocabulary.fingerprint) == (name, None)


@given(frames=st.integers(0, 20), books=st.integers(1, 3), seed=st.integers(0, 99), tensors=st.booleans())
def test_codes_of_undoes_code_ids(factors, frames, books, seed, tensors):
    codes = np.random.default_rng(seed).integers(0, 8, (2, books, frames))
    codes = torch.from_numpy(codes) if tensors else codes
    vocabulary = Vocabulary.of(factors)
    ids = vocabulary.code_ids(codes, "residual")
    assert type(ids) is type(codes)
    assert (vocabulary.codes_of(ids, "residual") == codes).all()


def test_saved_and_loaded(vocabulary, tmp_path):
    vocabulary.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == vocabulary


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{}", r"v.json is no vocabulary that speechtok wrote \(KeyError"),
        ("[1", r"v.json' cannot be read as JSON"),
        ("[" * 5000, r"v.json' cannot be read as JSON .it is nested too deeply"),
        ('{"format_version": 1, "streams": [], "unknown": 1}', "is no vocabulary that speechtok wrote"),
        ('{"format_version": 9}', "has format version 9, but this speechtok reads up to 1"),
        (None, "There is no vocabulary '.*v.json'"),
    ],
)
def test_what_is_no_vocabulary(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "v.json").write_text(content)
    with pytest.raises(TokensError, match=sentence):
        Vocabulary.load(tmp_path / "v.json")


def test_json_is_plain(vocabulary, tmp_path):
    vocabulary.save(tmp_path / "v.json")
    assert json.loads((tmp_path / "v.json").read_text())["speakers"] == ["Ana B", "bo"]


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (lambda v: v.special("x"), "no special 'x'; there are: pad, bos, eos, mask, text, speech, turn"),
        (lambda v: v.speaker_id("x"), "no speaker 'x'; the vocabulary has 2 speakers"),
        (lambda v: v.text_ids("abz"), "symbol 'z' at position 2 is not in the vocabulary, which has 4"),
        (lambda v: v.token(99), r"The id 99 must lie in \[0, 64\)"),
        (lambda v: v.range_of("mel"), "no stream 'mel'; it has: prosody, content, residual"),
        (lambda v: v.range_of("content", 2), "has 2 codebooks, so there is no codebook 2"),
        (
            lambda v: v.code_ids(np.array([[8]]), "content"),
            r"'content' must be codes in \[0, 8\), got 8 to 8",
        ),
        (
            lambda v: v.codes_of(np.array([[0]]), "content"),
            r"Ids of stream 'content' must be codes in \[0, 8\)",
        ),
        (
            lambda v: v.code_ids(np.zeros((3, 2), int), "content"),
            r"codebooks<=2, frames\), got shape \(3, 2\)",
        ),
        (lambda v: v.code_ids(np.zeros(2, int), "content"), r"got shape \(2,\)"),
    ],
)
def test_sentences(vocabulary, action, sentence):
    with pytest.raises(TokensError, match=sentence):
        action(vocabulary)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"text": ["a", "a"]}, "The token 'a' occurs twice"),
        ({"text": ["<bos>"]}, "The token '<bos>' occurs twice"),
        ({"num_durations": -1}, "must be at least 0, got -1 and 0"),
    ],
)
def test_what_cannot_be_a_vocabulary(factors, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Vocabulary.of(factors, **options)


def test_constructor_checks(factors):
    with pytest.raises(ValueError, match="`streams` must hold at least one stream"):
        Vocabulary(streams=())
    with pytest.raises(ValueError, match="`specials` must start with"):
        Vocabulary(streams=factors.streams, specials=("eos",))
    with pytest.raises(TokensError, match="'factors' has no stream 'mel'"):
        Vocabulary.of(factors, streams=["mel"])


def test_streams_in_another_order(factors):
    vocabulary = Vocabulary.of(factors, streams=["content", "prosody"])
    assert list(vocabulary.blocks)[-3:] == ["content_0", "content_1", "prosody_0"]


def test_split_shortens_what_is_cut_short(factors):
    vocabulary = Vocabulary.of(factors)
    content = [vocabulary.range_of("content", k) for k in range(2)]
    ids = np.array([1, content[0][5], content[1][6], content[0][7], 2])
    split = vocabulary.split(ids)
    assert split["content"].tolist() == [[5], [6]]
    assert split["prosody"].shape == (1, 0)


# --- transformers ---


def text_model():
    """A small byte-level tokenizer with an end token and a word `<mask>` of its own."""
    from transformers import PreTrainedTokenizerFast

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = {chr(97 + index): index for index in range(26)}
    tokenizer = Tokenizer(models.BPE(vocab={**letters, "Ġ": 26, "he": 27, "<mask>": 28}, merges=[("h", "e")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", clean_up_tokenization_spaces=False
    )


def test_exported_tokenizer_round_trips(vocabulary, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = vocabulary.to_tokenizer()
    assert len(tokenizer) == len(vocabulary)
    string = "<bos>a cb<speaker_Ana B><speech><content_1_7><duration_3><prosody_0_0><turn><eos>"
    ids = tokenizer(string, add_special_tokens=False)["input_ids"]
    assert [vocabulary.token(index) for index in ids[:3]] == ["<bos>", "a", " "]
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(string, add_special_tokens=False)["input_ids"] == ids
    assert loaded.decode(ids) == string
    assert loaded.decode(ids, skip_special_tokens=True).startswith("a cb<speaker_Ana B><content_1_7>")
    assert loaded.convert_tokens_to_ids(list(vocabulary.tokens)) == list(range(len(vocabulary)))
    assert (loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id, loaded.mask_token_id) == (
        0,
        1,
        2,
        3,
    )


def test_added_to_a_text_model(factors, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = text_model()
    before = len(tokenizer)
    vocabulary = Vocabulary.of(factors, speakers=["bo"]).add_to(tokenizer)
    assert (vocabulary.first_id, len(vocabulary)) == (before, len(tokenizer))
    assert vocabulary.borrowed == {"eos": 29, "mask": 28}
    assert (vocabulary.eos_id, vocabulary.token(28), vocabulary.pad_id) == (29, "<mask>", before)
    codes = np.array([[7], [3]])
    string = "he<speech><content_0_7><content_1_3>hi<|end|>"
    expected = [27, vocabulary.special("speech"), *vocabulary.code_ids(codes, "content")[:, 0], 7, 8, 29]
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert one(string)["input_ids"] == expected
        assert one.decode(expected) == string
    vocabulary.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == vocabulary


def test_adding_twice_changes_nothing(factors):
    tokenizer, vocabulary = text_model(), Vocabulary.of(factors)
    first = vocabulary.add_to(tokenizer)
    size = len(tokenizer)
    assert vocabulary.add_to(tokenizer) == first
    assert len(tokenizer) == size


def test_what_cannot_be_added_or_exported(factors):
    tokenizer = text_model()
    with pytest.raises(ValueError, match="with text symbols cannot be added to a tokenizer"):
        Vocabulary.of(factors, text="a").add_to(tokenizer)
    extended = Vocabulary.of(factors).add_to(tokenizer)
    with pytest.raises(ValueError, match="extends a tokenizer; save that one"):
        extended.to_tokenizer()
    other = text_model()
    other.add_tokens(["<content_0_3>"])
    with pytest.raises(TokensError, match="has the token <content_0_3> already"):
        Vocabulary.of(factors).add_to(other)
