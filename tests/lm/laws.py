"""What holds of every layout and every batch, for the tokens of one utterance and its text."""

import numpy as np
import torch

from speechtok.lm import (
    IGNORE,
    DelayCollator,
    FactorCollator,
    FlatCollator,
    InterleavedCollator,
    UnitCollator,
    ValleCollator,
    Vocabulary,
    tokens_from_codes,
)
from speechtok.lm.layouts import align, factors, grid, interleave, units, valle


def same(one, other):
    return one.shape == other.shape and bool((one == other).all())


def check_layouts(tokens, text):
    """Assert that every layout gives back the codes of `tokens`, one utterance, and the ids of its text."""
    streams = tokens.info.streams
    codes = {s.name: tokens[s.name][0, :, : int(tokens.num_frames[s.name][0])].numpy() for s in streams}
    frames = {name: item.shape[1] for name, item in codes.items()}
    rows = align.align(codes, streams, -1)
    back = align.unalign(rows, streams, frames)
    assert all(same(back[name], codes[name]) for name in codes)

    count = rows.shape[0]
    assert same(grid.unflatten_frames(grid.flatten_frames(rows), count), rows)
    assert same(grid.unflatten_codebooks(grid.flatten_codebooks(rows), count), rows)
    assert same(grid.unparallel(grid.parallel(rows)), rows)
    for delays in (None, [0] * count, [k % 3 for k in range(count)]):
        assert same(grid.undelay(grid.delay(rows, -1, delays), delays), rows)
    for coarse in {1, count // 2, count - 1} & set(range(1, count)):
        assert same(grid.undo_coarse_first(grid.coarse_first(rows, coarse), count, coarse), rows)

    for row in rows:
        for longest in (None, 1, 3):
            runs = units.unpair(units.pair(*units.deduplicate(row, longest)))
            assert same(units.expand(*runs), row)

    ids = np.asarray([ord(letter) for letter in text])
    for num_text, num_speech in ((1, count), (5, 15 * count), (len(ids) + 1, 1)):
        spans = interleave.alternate(ids, grid.flatten_frames(rows), num_text, num_speech)
        again = interleave.split_spans(interleave.join_spans(spans, -2, -3), -2, -3)
        written, spoken = interleave.gather(again, ids)
        assert same(written, ids)
        assert same(grid.unflatten_frames(spoken, count), rows)

    flat = grid.flatten_frames(rows)
    ends = [(n * len(ids) // 4, n * rows.shape[1] // 4 * count) for n in range(1, 5)]
    for is_speech in ([True, False] * 2, [False, True] * 2, [True] * 4):
        spans = interleave.alternate_at(ids, flat, ends, is_speech)
        again = interleave.split_spans(interleave.join_spans(spans, -2, -3), -2, -3)
        segments = list(zip([(0, 0), *ends], ends, is_speech, strict=False))
        heard = [flat[start[1] : stop[1]] for start, stop, speech in segments if speech]
        read = [ids[start[0] : stop[0]] for start, stop, speech in segments if not speech]
        for got, parts in zip(interleave.gather(again, ids), (read, heard), strict=True):
            assert same(got, np.concatenate([ids[:0], *parts]))

    for first in rows:
        sequence = valle.ar_sequence(ids, first, bos=-4, speech=-5, eos=-6)
        assert all(
            same(*pair)
            for pair in zip(valle.split_ar_sequence(sequence, speech=-5, eos=-6), (ids, first), strict=True)
        )
    for prompt in {0, rows.shape[1] // 3, rows.shape[1]} if count > 1 else ():
        levels = [valle.nar_example(rows, level, prompt) for level in range(1, count)]
        start, known, _ = levels[0]
        assert same(valle.join_levels(start, known[0], [target for *_, target in levels]), rows)

    stages = factors.stage_of_rows(streams)
    for stage in set(stages):
        hidden = factors.cosine_mask(rows.shape[1], 0.5, np.random.default_rng(stage))
        seen = factors.mask_stage(rows, stages, stage, hidden, mask=-7)
        labels = factors.stage_labels(rows, stages, stage, hidden, ignore=IGNORE)
        up_to = np.asarray(stages) <= stage
        assert same(factors.unmask_stage(seen, labels, ignore=IGNORE)[up_to], rows[up_to])


def check_strings(tokens, text, folder):
    """Assert that the exported tokenizer, saved and loaded, writes and reads the ids of `tokens` and of its text."""
    from transformers import AutoTokenizer

    vocabulary = Vocabulary.of(tokens.info, text=sorted(set(text)))
    vocabulary.to_tokenizer().save_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    ids = FlatCollator(vocabulary=vocabulary, text=True)([{"tokens": tokens, "text": text}])["input_ids"][0]
    string = loaded.decode(ids)
    assert text in string
    assert loaded(string, add_special_tokens=False)["input_ids"] == ids.tolist()


def text_model(text):
    """Return a byte-level tokenizer like those of text models, with merges learnt on `text`."""
    from transformers import PreTrainedTokenizerFast

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator([text] * 2, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", clean_up_tokenization_spaces=False
    )


def check_added(tokens, text, folder):
    """Assert that a text model's tokenizer, extended, saved and loaded, holds its text and the codes of `tokens`."""
    from transformers import AutoTokenizer

    llm = text_model(text)
    before = llm(text)["input_ids"]
    vocabulary = Vocabulary.of(tokens.info).add_to(llm)
    llm.save_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    assert loaded(text)["input_ids"] == before
    collate = FlatCollator(
        vocabulary=vocabulary, text=True, text_ids=lambda words: loaded(words)["input_ids"]
    )
    ids = collate([{"tokens": tokens, "text": text}])["input_ids"][0]
    assert all(item in ids.tolist() for item in (*before, llm.eos_token_id))
    assert loaded(loaded.decode(ids))["input_ids"] == ids.tolist()
    kept = {name: getattr(tokens, name) for name in ("speaker_embedding", "scale")}
    vectors = {name: value[0] for name, value in kept.items() if value is not None}
    samples = int(tokens.num_samples[0])
    assert tokens_from_codes(vocabulary.split(ids), tokens.info, num_samples=samples, **vectors).equals(
        tokens
    )


def check_batches(tokens, text):
    """Assert that the batches of every collator hold the codes of `tokens`, one utterance, and its text."""
    info, samples = tokens.info, int(tokens.num_samples[0])
    vocabulary = Vocabulary.of(info, text=sorted(set(text)), num_durations=4)
    item = {"tokens": tokens, "text": text}
    kept = {name: getattr(tokens, name) for name in ("speaker_embedding", "scale")}
    vectors = {name: value[0] for name, value in kept.items() if value is not None}

    for order in ("frames", "codebooks", "coarse_first"):
        if order == "coarse_first" and vocabulary.num_codebooks == 1:
            continue
        ids = FlatCollator(vocabulary=vocabulary, order=order, text=True)([item])["input_ids"][0]
        back = tokens_from_codes(vocabulary.split(ids), info, num_samples=samples, **vectors)
        assert back.equals(tokens)
    ids = InterleavedCollator(vocabulary=vocabulary, num_text=5, num_frames=15)([item])["input_ids"][0]
    marks = vocabulary.special("text"), vocabulary.special("speech")
    written, spoken = interleave.gather(interleave.split_spans(ids[1:-1], *marks), ids)
    assert written.tolist() == vocabulary.text_ids(text)
    assert tokens_from_codes(vocabulary.split(spoken), info, num_samples=samples, **vectors).equals(tokens)

    frames = {name: int(count[0]) for name, count in tokens.num_frames.items()}
    batch = DelayCollator(vocabulary=vocabulary)([item])
    rows = align.unalign(grid.undelay(batch["input_ids"][0][:, 1:]), info.streams, frames)
    assert all(torch.equal(rows[name], tokens[name][0]) for name in frames)
    for stream in info.streams:
        if stream.num_codebooks == 1:
            own = Vocabulary.of(info, streams=[stream.name], num_durations=4)
            collate = UnitCollator(vocabulary=own, stream=stream.name, durations="tokens")
            assert same(collate.restore(collate([item])["input_ids"][0]), tokens[stream.name][0].numpy())

    stages = factors.stages_of(info.streams)
    for stage, (name, book) in enumerate(stages):
        batch = FactorCollator(vocabulary=vocabulary, stage=stage)([item])
        whole = factors.unmask_stage(batch["input_ids"][0], batch["labels"][0], ignore=IGNORE)
        assert torch.equal(align.unalign(whole, info.streams, frames)[name][book], tokens[name][0, book])
    if len({stream.hop_length for stream in info.streams}) == 1:
        codes = tokens.codes[0]
        for level in range(1, len(stages)):
            batch = ValleCollator(vocabulary=vocabulary, level=level)([item])
            written, first = valle.split_ar_sequence(batch["input_ids"][0], speech=marks[1], eos=2)
            assert written.tolist() == vocabulary.text_ids(text)
            assert torch.equal(first - vocabulary.range_of(info.streams[0].name).start, codes[0])
            start = int(batch["prompt_mask"][0].sum())
            assert torch.equal(batch["prompt_codes"][0][:, :start], codes[:, :start])
            assert torch.equal(batch["codes"][0][:level], codes[:level, start:])
            assert torch.equal(batch["nar_labels"][0], codes[level, start:])
