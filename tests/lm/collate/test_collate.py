"""Batches hold the codes, wherever they come from, and labels stand where something is learned."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechtok.errors import TokensError
from speechtok.lm import (
    IGNORE,
    DelayCollator,
    FactorCollator,
    FlatCollator,
    InterleavedCollator,
    UnitCollator,
    ValleCollator,
    Vocabulary,
    codebook_losses,
    read_examples,
    tokens_from_codes,
)
from speechtok.lm.layouts.align import unalign
from speechtok.lm.layouts.factors import unmask_stage
from speechtok.lm.layouts.grid import coarse_first, flatten_codebooks, flatten_frames, undelay
from speechtok.lm.layouts.interleave import gather, split_spans
from speechtok.lm.layouts.valle import split_ar_sequence
from speechtok.shards.stream import TokenBatch

some_lengths = st.lists(st.integers(1, 4000), min_size=1, max_size=3)
TEXTS = ["ab", "ba c", "c"]


def vocabulary_of(info, **options):
    return Vocabulary.of(info, text="ab c", speakers=["x", "y"], **options)


def rows_of(draw, info, lengths, **columns):
    return [draw(info, n, seed, text=TEXTS[seed], speaker="y", **columns) for seed, n in enumerate(lengths)]


def as_items(rows, info, as_tokens):
    """The same utterances as tokens beside their text."""
    batch = as_tokens(rows, info)
    return [
        {"tokens": tokens, "text": row["text"], "speaker": row["speaker"]}
        for tokens, row in zip(batch, rows, strict=True)
    ]


def same_batch(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("order", ["frames", "codebooks", "coarse_first"])
@given(lengths=some_lengths, side=st.sampled_from(["right", "left"]))
def test_flat(factors, units, draw, as_tokens, order, lengths, side):
    for info in (factors, units):
        vocabulary = vocabulary_of(info)
        rows = rows_of(draw, info, lengths)
        collate = FlatCollator(vocabulary=vocabulary, order=order, text=True, speaker=True, padding_side=side)
        batch = collate(rows)
        assert same_batch(batch, collate(as_items(rows, info, as_tokens)))
        for index, row in enumerate(rows):
            ids = batch["input_ids"][index][batch["attention_mask"][index] == 1]
            codes = vocabulary.split(ids)
            assert all((codes[s.name].numpy() == row[s.name]).all() for s in info.streams)
            head = 3 + len(row["text"])
            assert ids[:head].tolist() == [
                1,
                vocabulary.speaker_id("y"),
                *vocabulary.text_ids(row["text"]),
                5,
            ]
            labels = batch["labels"][index][batch["attention_mask"][index] == 1]
            assert (labels[:head] == IGNORE).all()
            assert (labels[head:] == ids[head:]).all()
            assert int(batch["loss_masks"][index].sum()) == len(ids) - head - 1  # all but <eos>
        assert (batch["labels"][batch["attention_mask"] == 0] == IGNORE).all()


def test_orders_are_those_of_the_layouts(factors, draw):
    vocabulary = vocabulary_of(factors)
    (row,) = rows_of(draw, factors, [1500])
    grid = np.concatenate([vocabulary.code_ids(row[s.name], s.name) for s in factors.streams])
    for order, expected in [
        ("frames", flatten_frames(grid)),
        ("codebooks", flatten_codebooks(grid)),
        ("coarse_first", coarse_first(grid, 2)),
    ]:
        ids = FlatCollator(vocabulary=vocabulary, order=order, num_coarse=2)([row])["input_ids"]
        assert ids[0, 2:-1].tolist() == expected.tolist()


def test_flat_options(factors, draw):
    vocabulary = vocabulary_of(factors)
    rows = rows_of(draw, factors, [900])
    prompt = FlatCollator(vocabulary=vocabulary, text=True, prompt_only=True)(rows)
    assert prompt["input_ids"].tolist() == [[1, *vocabulary.text_ids("ab"), 5]]
    learned = FlatCollator(vocabulary=vocabulary, text=True, learn_text=True, loss_masks=False)(rows)
    assert learned["labels"].tolist()[0] == [IGNORE, *learned["input_ids"].tolist()[0][1:]]
    assert set(learned) == {"input_ids", "labels", "attention_mask"}
    words = FlatCollator(
        vocabulary=vocabulary, text=True, prompt_only=True, text_ids=lambda text: [7] * len(text)
    )
    assert words(rows)["input_ids"].tolist() == [[1, 7, 7, 5]]
    phones = FlatCollator(vocabulary=vocabulary, text=True, prompt_only=True)
    for written in (["c", "a"], "c a", " c  a\n"):
        assert phones([{**rows[0], "phones": written}])["input_ids"].tolist() == [[1, 9, 6, 5]]
    for missing in (None, "", [], math.nan):
        found = phones([{**rows[0], "phones": missing, "text": "ca"}])["input_ids"].tolist()
        assert found == [[1, 9, 6, 5]]
    with pytest.raises(
        TokensError, match=r"text of utterance 'u' has no ids: The text symbol 'ca' at position 0"
    ):
        phones([{**rows[0], "id": "u", "phones": "ca"}])
    with pytest.raises(TokensError, match=r"needs it, but utterance 'u' has none"):
        phones([{**rows[0], "id": "u", "phones": None, "text": None}])


@given(lengths=some_lengths, data=st.data())
def test_delay(factors, units, draw, as_tokens, lengths, data):
    for info, books in ((factors, 6), (units, 5)):
        delays = data.draw(st.none() | st.lists(st.integers(0, 3), min_size=books, max_size=books))
        vocabulary = vocabulary_of(info)
        rows = rows_of(draw, info, lengths)
        collate = DelayCollator(vocabulary=vocabulary, delays=delays, text=True)
        batch = collate(rows)
        assert same_batch(batch, collate(as_items(rows, info, as_tokens)))
        assert (batch["input_ids"][:, :, 0] == vocabulary.head_special("bos")).all()
        assert int(batch["input_ids"].max()) < vocabulary.head_size
        for index, row in enumerate(rows):
            grid = batch["input_ids"][index][:, batch["attention_mask"][index] == 1]
            frames = {s.name: row[s.name].shape[1] for s in info.streams}
            codes = unalign(undelay(grid[:, 1:], delays), info.streams, frames)
            assert all((codes[name].numpy() == row[name]).all() for name in codes)
        assert torch.equal(batch["loss_masks"], batch["labels"] != IGNORE)
        total = sum(row[s.name].size for row in rows for s in info.streams)
        assert int(batch["loss_masks"].sum()) == total


@given(lengths=some_lengths, prompt=st.integers(0, 3), seed=st.integers(0, 9))
def test_valle(factors, draw, as_tokens, lengths, prompt, seed):
    vocabulary = vocabulary_of(factors)
    rows = rows_of(draw, factors, lengths)
    collate = ValleCollator(vocabulary=vocabulary, prompt_seconds=(0, prompt / 80), seed=seed)
    batch = collate(rows)
    assert same_batch(batch, collate(as_items(rows, factors, as_tokens)))
    for index, row in enumerate(rows):
        ids = batch["input_ids"][index][batch["attention_mask"][index] == 1]
        text, first = split_ar_sequence(ids, speech=5, eos=2)
        assert text.tolist() == vocabulary.text_ids(row["text"])
        assert (vocabulary.codes_of(first[None], "prosody").numpy() == row["prosody"]).all()
        whole = np.concatenate([row["prosody"], row["content"], row["residual"]])
        level = int(batch["level"][index])
        start = int(batch["prompt_mask"][index].sum())
        frames = int(batch["nar_mask"][index].sum())
        assert start + frames == whole.shape[1]
        assert (batch["prompt_codes"][index][:, :start].numpy() == whole[:, :start]).all()
        assert (batch["codes"][index][:level, :frames].numpy() == whole[:level, start:]).all()
        assert (batch["codes"][index][level:, :frames] == vocabulary.head_special("mask")).all()
        assert (batch["nar_labels"][index][:frames].numpy() == whole[level, start:]).all()
        masks = batch["loss_masks"][index].sum(dim=1)
        assert masks.tolist() == [frames if k == level else 0 for k in range(6)]


@given(lengths=some_lengths, prompt=st.integers(0, 3), seed=st.integers(0, 9))
def test_factors(factors, units, draw, as_tokens, lengths, prompt, seed):
    for info, rate in ((factors, 80), (units, 12.5)):
        vocabulary = vocabulary_of(info)
        rows = rows_of(draw, info, lengths)
        collate = FactorCollator(
            vocabulary=vocabulary, prompt_seconds=(prompt / rate, prompt / rate), seed=seed
        )
        batch = collate(rows)
        assert same_batch(batch, collate(as_items(rows, info, as_tokens)))
        for index, row in enumerate(rows):
            length = int(batch["attention_mask"][index].sum())
            seen, labels = batch["input_ids"][index][:, :length], batch["labels"][index][:, :length]
            frames = {s.name: row[s.name].shape[1] for s in info.streams}
            codes = unalign(unmask_stage(seen, labels, ignore=IGNORE), info.streams, frames)
            stages = [(s.name, k) for s in info.streams for k in range(s.num_codebooks)]
            for name, book in stages[: int(batch["stage"][index]) + 1]:
                assert (codes[name][book].numpy() == row[name][book]).all()
            assert int(batch["prompt_mask"][index].sum()) == min(prompt, length // 2)
            assert batch["loss_masks"][index].any()


def test_factor_text_per_frame(factors, draw):
    vocabulary = vocabulary_of(factors)
    (row,) = rows_of(draw, factors, [1000])  # 5 frames
    collate = FactorCollator(vocabulary=vocabulary, text=True, stage=2)
    batch = collate([{**row, "durations": [2, 3]}])
    assert batch["frame_text"].tolist() == [[6, 6, 7, 7, 7]]
    assert batch["stage"].tolist() == [2]
    with pytest.raises(TokensError, match="one for each text symbol, that sum to 5, got 2 that sum to 6"):
        collate([{**row, "durations": [3, 3]}])


def test_draws_depend_on_the_seed(factors, draw):
    rows = rows_of(draw, factors, [3000, 2000])
    collate = FactorCollator(vocabulary=vocabulary_of(factors))
    assert same_batch(collate(rows), collate(rows))
    assert not same_batch(collate(rows), replace(collate, seed=1)(rows))


@given(lengths=some_lengths)
def test_units(units, draw, as_tokens, lengths):
    vocabulary = vocabulary_of(units, streams=["content"], num_durations=3)
    rows = rows_of(draw, units, lengths)
    for row in rows:
        row["content"] = row["content"] // 4  # runs
    tokens = as_tokens(rows, units)
    collate = UnitCollator(vocabulary=vocabulary, durations="tokens", speaker=True)
    batch = collate(rows)
    assert same_batch(batch, collate(as_items(rows, units, as_tokens)))
    for index, row in enumerate(rows):
        assert (collate.restore(batch["input_ids"][index]) == row["content"]).all()
    values = UnitCollator(vocabulary=vocabulary, durations="values", loss_masks=True)(rows)
    runs = tokens.select("content").deduplicated()
    for index, row in enumerate(rows):
        lasts = values["durations"][index]
        assert (
            lasts[lasts > 0].tolist()
            == runs.durations["content"][index, : int(runs.num_runs["content"][index])].tolist()
        )
        assert int(lasts.sum()) == row["content"].shape[1]
        assert torch.equal(values["loss_masks"][index, 0], lasts > 0)
    plain = UnitCollator(vocabulary=vocabulary)(rows)
    assert torch.equal(plain["input_ids"], values["input_ids"])
    assert "durations" not in plain


@given(lengths=some_lengths, one=st.integers(1, 3), other=st.integers(1, 4))
def test_interleaved(factors, units, draw, as_tokens, lengths, one, other):
    for info in (factors, units):
        vocabulary = vocabulary_of(info)
        rows = rows_of(draw, info, lengths)
        collate = InterleavedCollator(vocabulary=vocabulary, num_text=one, num_frames=other, speaker=True)
        batch = collate(rows)
        assert same_batch(batch, collate(as_items(rows, info, as_tokens)))
        for index, row in enumerate(rows):
            ids = batch["input_ids"][index][batch["attention_mask"][index] == 1]
            text, speech = gather(split_spans(ids[2:-1], 4, 5), ids)
            assert text.tolist() == vocabulary.text_ids(row["text"])
            codes = vocabulary.split(speech)
            assert all((codes[s.name].numpy() == row[s.name]).all() for s in info.streams)


# --- what comes in ---


def test_a_batch_of_tokens(factors, draw, as_tokens):
    rows = rows_of(draw, factors, [900, 2000])
    collate = FlatCollator(vocabulary=vocabulary_of(factors))
    tokens = as_tokens(rows, factors)
    assert same_batch(collate(rows), collate(tokens))
    assert same_batch(collate(rows), collate(list(tokens)))
    assert same_batch(collate(rows[:1]), collate(rows[0]))


def test_a_batch_of_a_stream(factors, draw, as_tokens):
    rows = rows_of(draw, factors, [900, 2000])
    collate = FlatCollator(vocabulary=vocabulary_of(factors), text=True, speaker=True)
    columns = {name: [row[name] for row in rows] for name in ("text", "speaker")}
    assert same_batch(collate(rows), collate(TokenBatch(tokens=as_tokens(rows, factors), columns=columns)))
    bare = FlatCollator(vocabulary=vocabulary_of(factors))
    assert same_batch(bare(rows), bare(TokenBatch(tokens=as_tokens(rows, factors), columns={})))


def test_rows_of_any_kind(units, draw):
    (row,) = rows_of(draw, units, [900])
    collate = FlatCollator(vocabulary=vocabulary_of(units))
    listed = {**row, "content": row["content"][0].tolist(), "pitch": torch.from_numpy(row["pitch"])}
    assert same_batch(collate([row]), collate([listed]))


def test_fewer_codebooks(factors, draw):
    rows = rows_of(draw, factors, [900])
    from speechtok.tokens import with_codebooks

    vocabulary = vocabulary_of(with_codebooks(factors, 1))
    ids = FlatCollator(vocabulary=vocabulary)(rows)["input_ids"][0]
    assert vocabulary.split(ids)["residual"].tolist() == rows[0]["residual"][:1].tolist()


def test_back_to_tokens(units, draw, as_tokens):
    rows = rows_of(draw, units, [2560])
    vocabulary = vocabulary_of(units)
    codes = vocabulary.split(FlatCollator(vocabulary=vocabulary)(rows)["input_ids"][0])
    assert tokens_from_codes(codes, units).equals(as_tokens(rows, units))
    with_vector = replace(units, speaker_embedding_dim=2)
    tokens = tokens_from_codes(codes, with_vector, num_samples=2500, speaker_embedding=[0.5, 1.0], scale=None)
    assert (tokens.num_samples.tolist(), tokens.speaker_embedding.shape) == ([2500], (1, 2))
    with pytest.raises(TokensError, match=r"'pitch' must be codes in \[0, 4\), got 9 to 9"):
        tokens_from_codes({**codes, "pitch": np.array([[9]])}, units)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda row: {"text": None}, "A layout with text needs it, but utterance 'u0' has none"),
        (lambda row: {"speaker": "z"}, "There is no speaker 'z'"),
        (lambda row: {"content": row["content"] + 9}, r"'content' must be codes in \[0, 8\), got"),
        (lambda row: {"content": row["content"][:1]}, r"\(2 codebooks, frames\), got shape \(1, 5\)"),
    ],
)
def test_wrong_rows(factors, draw, change, sentence):
    (row,) = rows_of(draw, factors, [1000])
    collate = FlatCollator(vocabulary=vocabulary_of(factors), text=True, speaker=True)
    with pytest.raises(TokensError, match=sentence):
        collate([{**row, **change(row)}])
    with pytest.raises(TokensError, match=r"[Uu]tterance 'a/1\.flac'"):
        collate([row | {"id": "a/0.flac"}, {**row, **change(row), "id": "a/1.flac"}])


def test_other_wrong_input(factors, units, draw, as_tokens):
    vocabulary = vocabulary_of(factors)
    tokens = as_tokens(rows_of(draw, units, [900, 900]), units)
    with pytest.raises(
        TokensError, match=r"for tokens of 'factors' with fingerprint f00d, .* by 'units' with beef"
    ):
        read_examples(tokens, vocabulary)
    with pytest.raises(TokensError, match=r"needs the stream 'prosody', but .* has only: content"):
        read_examples([{"content": [1]}], vocabulary)
    with pytest.raises(TokensError, match="beside other columns must be of one utterance, got 2"):
        read_examples([{"tokens": tokens}], vocabulary_of(units))
    with pytest.raises(ValueError, match="A batch must hold at least one utterance"):
        read_examples([], vocabulary)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda f, u: FlatCollator(vocabulary=f, order="x"),
            "must be frames, codebooks or coarse_first, got 'x'",
        ),
        (
            lambda f, u: FlatCollator(vocabulary=f, order="coarse_first", num_coarse=6),
            "`num_coarse` must be from 1 to 5, got 6",
        ),
        (lambda f, u: UnitCollator(vocabulary=f), "Stream 'content' must have one codebook"),
        (lambda f, u: UnitCollator(vocabulary=u, durations="tokens"), "Duration tokens need a vocabulary"),
        (lambda f, u: UnitCollator(vocabulary=u, durations="x"), "must be none, tokens or values, got 'x'"),
        (
            lambda f, u: ValleCollator(vocabulary=u),
            "two codebooks of one frame rate, got content 1 at 50 Hz, pitch",
        ),
        (lambda f, u: ValleCollator(vocabulary=f, level=6), "`level` must be from 1 to 5, got 6"),
        (
            lambda f, u: ValleCollator(vocabulary=f, prompt_seconds=(3, 2)),
            r"0 <= shortest <= longest, got \(3, 2\)",
        ),
        (lambda f, u: FactorCollator(vocabulary=f, stage=6), "`stage` must be from 0 to 5 .* got 6"),
    ],
)
def test_wrong_options(factors, units, make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(vocabulary_of(factors), vocabulary_of(units))


# --- utterances without text ---


def collators(vocabulary, **options):
    """Every collator that takes text."""
    yield FlatCollator(vocabulary=vocabulary, text=True, **options)
    yield InterleavedCollator(vocabulary=vocabulary, num_text=2, num_frames=3, **options)
    yield DelayCollator(vocabulary=vocabulary, text=True, **options)
    yield FactorCollator(vocabulary=vocabulary, text=True, **options)
    yield ValleCollator(vocabulary=vocabulary, **options)


def test_missing_texts_are_named_or_skipped(factors, draw):
    vocabulary = vocabulary_of(factors)
    rows = rows_of(draw, factors, [900, 2000, 1500])
    without = [rows[0], {**rows[1], "text": None}, rows[2]]
    for strict, lenient in zip(
        collators(vocabulary), collators(vocabulary, missing_text="skip"), strict=True
    ):
        with pytest.raises(TokensError, match=f"needs it, but utterance '{rows[1]['id']}' has none"):
            strict(without)
        assert same_batch(lenient(without), strict([rows[0], rows[2]]))
        with pytest.raises(TokensError, match="No utterance of a batch has a text, from utterance"):
            lenient([without[1]])
        with pytest.raises(TokensError, match=f"The text of utterance '{rows[0]['id']}' has no ids"):
            lenient([{**rows[0], "text": "\u2603"}])
        with pytest.raises(ValueError, match="`missing_text` must be error or skip, got 'drop'"):
            replace(lenient, missing_text="drop")
    # without text nothing is asked for, and nothing is skipped
    plain = FlatCollator(vocabulary=vocabulary, missing_text="skip")(without)
    assert len(plain["input_ids"]) == 3


def test_the_first_codebooks(factors, draw):
    few = Vocabulary.of(factors, num_codebooks=2, text="abcdefghijklmnopqrstuvwxyz ")
    assert [stream.num_codebooks for stream in few.streams] == [1, 2, 2]
    rows = rows_of(draw, factors, [900, 2000])
    coarse = [{**row, "residual": row["residual"][:2]} for row in rows]
    assert same_batch(DelayCollator(vocabulary=few)(rows), DelayCollator(vocabulary=few)(coarse))
    with pytest.raises(ValueError, match="`num_codebooks` must be at least 1, got 0"):
        Vocabulary.of(factors, num_codebooks=0)


# --- losses ---


def test_losses_by_codebook(factors, draw):
    vocabulary = vocabulary_of(factors)
    batch = FlatCollator(vocabulary=vocabulary)(rows_of(draw, factors, [900, 2000]))
    logits = torch.randn(*batch["labels"].shape, len(vocabulary), generator=torch.Generator().manual_seed(0))
    losses = codebook_losses(logits, batch["labels"], batch["loss_masks"])
    assert losses.shape == (6,)
    counts = batch["loss_masks"].sum(dim=(0, 2))
    labels = batch["labels"].where(batch["loss_masks"].any(dim=1), IGNORE)
    whole = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close((losses * counts).sum() / counts.sum(), whole)


def test_losses_of_masked_models(factors, draw):
    vocabulary = vocabulary_of(factors)
    batch = FactorCollator(vocabulary=vocabulary, stage=1)(rows_of(draw, factors, [900, 2000]))
    logits = torch.zeros(*batch["labels"].shape, vocabulary.head_size)
    losses = codebook_losses(logits, batch["labels"], batch["loss_masks"], shift=False)
    torch.testing.assert_close(
        losses[1], torch.tensor(float(np.log(vocabulary.head_size)), dtype=torch.float32)
    )
    assert losses[[0, 2, 3, 4, 5]].isnan().all()
