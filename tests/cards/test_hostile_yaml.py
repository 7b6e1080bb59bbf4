"""YAML made to harm, in cards, recipes and published configs: one sentence, in little time and memory."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok import load_tokenizer
from speechtok.cards import find_card, read_tokenizer_card
from speechtok.cards.markdown import split_head
from speechtok.cards.yaml_file import dump_yaml, parse_yaml, read_yaml
from speechtok.errors import CardError
from speechtok.limits import YAML_BYTES
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.published_config import read_codec_config
from speechtok.tokenizers.funcodec.published_config import parse_config

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 20)}]}}\n"
    for before, name in zip("abcdef", "bcdefg", strict=True)
)
ATTACKS = {
    "many laughs": (LAUGHS, "too many values, aliases written out"),
    "merges of merges": (MERGES, "too many values, aliases written out"),
    "an alias of itself": ("a: &a [*a]", "too many values, aliases written out"),
    "nested lists": ("a: " + "[" * 1500, "nested too deeply"),
    "nested mappings": ("".join(" " * k + "a:\n" for k in range(600)), "nested too deeply"),
    "a key twice": ("a: 1\nb: 2\na: 3", "the key 'a' occurs twice"),
    "a number without end": ("a: 1.0e+400", "is not finite"),
    "no number": ("a: .nan", "is not finite"),
    "5,000 digits": ("a: " + "9" * 5000, "digits"),
    "no day": ("a: 2020-99-99", "month"),
    "code": ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
    "a list as a key": ("? [a, b]\n: c", "unhashable key"),
    "a control character": ("a: \x07", "special characters are not allowed"),
    "too long": ("a: " + "x" * YAML_BYTES, "is longer than"),
    "a list": ("- a", "must hold a YAML mapping"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_end_in_a_sentence(tmp_path: Path, name: str) -> None:
    text, reason = ATTACKS[name]
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(CardError, match=reason) as caught:
        read_yaml(tmp_path / "x.yaml")
    assert "x.yaml" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert split_head(f"---\n{text}\n---\n\nbody")[0] == {}


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    with pytest.raises(CardError, match="is a named pipe"):
        read_tokenizer_card(tmp_path / "x.yaml")
    with pytest.raises(CardError, match="There is no file"):
        read_tokenizer_card(tmp_path / "none.yaml")
    (tmp_path / "y.yaml").write_bytes(b"a: \xff")
    with pytest.raises(CardError, match=r"y\.yaml cannot be read as YAML"):
        read_yaml(tmp_path / "y.yaml")


def test_aliases_and_merges_of_honest_files_are_read() -> None:
    text = "base: &base {rate: 16000, size: 8}\nown: {<<: *base, size: 16}\nagain: *base"
    assert parse_yaml(text, "x")["own"] == {"rate": 16000, "size": 16}
    values = parse_yaml(
        "{a: 010, b: 08, c: 1_000, d: 0x1f, e: 190:20:30, f: 1.5e+3, g: 12:30.5, h: 1e-3}", "x"
    )
    assert values == {
        "a": 8,
        "b": "08",
        "c": 1000,
        "d": 31,
        "e": "190:20:30",
        "f": 1500.0,
        "g": "12:30.5",
        "h": "1e-3",
    }


WORDS = st.text("ab:<*&[{-#01 '.é", max_size=6)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(WORDS, PLAIN, max_size=5))
def test_what_is_written_is_read(content: dict[str, object]) -> None:
    assert parse_yaml(dump_yaml(content), "x") == content


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_cards_end_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["dmel_16k", "facodec", "hubert_base_l6_km100"]))
    text = bytearray(find_card(name)[1].read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        new = data.draw(
            st.sampled_from([b"", b"&a ", b"*a", b"<<: ", b"[", b"{", b"- ", b": ", b"\n", b"9999999", b"!!"])
        )
        text[place : place + data.draw(st.sampled_from([0, 1, 5]))] = new
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes(text)
    refusal = "damaged.yaml"
    try:
        read_tokenizer_card(path)
    except CardError as error:
        refusal = str(error)
    assert "damaged.yaml" in refusal


@pytest.mark.parametrize(
    ("card", "field", "value"),
    [
        ("dmel_16k", "griffin_lim_iterations", 10**9),
        ("dmel_16k", "window_length", 10**9),
        ("dmel_16k", "num_channels", 10**9),
        ("facodec", "transformer_layers", 10**9),
        ("facodec", "encoder_channels", 10**9),
        ("facodec", "num_residual", 10**9),
        ("facodec_24k", "lstm_layers", 10**9),
        ("facodec_24k", "strides", [2] * 1000),
        ("facodec_24k", "window_length", 10**9),
        ("hubert_base_l6_km100", "layer", 10**9),
    ],
)
def test_sizes_of_cards_are_bounded(tmp_path: Path, card: str, field: str, value: object) -> None:
    content = read_yaml(find_card(card)[1])
    content["architecture"] = {**(content.get("architecture") or {}), field: value}
    content["files"] = []
    (tmp_path / "x.yaml").write_text(dump_yaml(content))
    with pytest.raises(CardError, match=f"in field {field}"):
        load_tokenizer(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sample_rate", 10**9),
        ("speaker_embedding_dim", 10**9),
        ("num_codebooks", 10**9),
        ("hop_length", 10**9),
    ],
)
def test_sizes_of_streams_are_bounded(tmp_path: Path, field: str, value: int) -> None:
    content = read_yaml(find_card("facodec")[1])
    target = content if field in content else content["streams"][0]
    target[field] = value
    (tmp_path / "x.yaml").write_text(dump_yaml(content))
    with pytest.raises(CardError, match=f"(in field |`){field}"):
        read_tokenizer_card(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    "text", ["lstm: 1000000000", "encoder_rates: [1000000000]", f"decoder_rates: {[2] * 1000}"]
)
def test_sizes_of_a_published_codec_are_bounded(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yml").write_text(text)
    with pytest.raises(CardError, match=r"config\.yml has .* in field"):
        read_codec_config(Facodec24kConfig(), tmp_path / "config.yml")


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_conf": {"seq_layer_num": 10**9}},
        {"encoder_conf": {"n_filters": 10**9}},
        {"encoder_conf": {"n_residual_layers": 10**9}},
        {"quantizer_conf": {"num_quantizers": 10**9}},
        {"quantizer_conf": {"codebook_size": 10**9}},
        {"model_conf": {"segment_dur": 1e300}},
        {"model_conf": {"segment_dur": [[[]]]}},
        {"encoder_conf": {"ratios": [[2]] * 1000}, "decoder_conf": {"ratios": [[2]] * 1000}},
        {"encoder_conf": 5},
        {"quantizer_conf": {"codec_range": "x"}},
    ],
)
def test_sizes_of_a_published_funcodec_are_bounded(changes: dict[str, object]) -> None:
    base = {"model": "encodec", "quantizer": "costume_quantizer", "encoder": "encodec_seanet_encoder"}
    parse_config({**base, "quantizer_conf": {"sampling_rate": 16_000}}, "config.yaml")
    with pytest.raises(CardError, match=r"config\.yaml has"):
        parse_config({**base, **changes}, "config.yaml")
