"""Prompts of the same speaker: another utterance, always the same for the same draw, also in workers and after a filter."""

import json
import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechtok import TokenDataset
from speechtok.errors import DatasetError, TokensError
from speechtok.lm import FactorCollator, SpeakerPrompts, ValleCollator, Vocabulary
from speechtok.shards import writer as writer_module
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter

SPEAKERS = ["anna", "bob", "anna", None, "carl", "bob", "anna", "bob", None, "dora", "anna", "bob"]
"""Carl and Dora speak once; two rows have no speaker."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, factors, draw):
    root = tmp_path_factory.mktemp("prompts")
    (root / "data").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "ROW_GROUP_ROWS", 3)
        path = root / "data" / "train-00000-of-00001.parquet"
        with ShardWriter(path, token_schema(factors, {"name": "factors"}, {}), factors) as writer:
            for number, speaker in enumerate(SPEAKERS):
                row = draw(factors, 4000 + 400 * number, number, speaker=speaker, text=f"text {number}")
                row |= {"duration": row["num_samples"] / 16000, "audio": "a.wav", "source_sample_rate": 16000}
                writer.add({**row, "language": None})
    return root


@pytest.fixture(scope="module")
def dataset(folder):
    return TokenDataset(folder)


@given(row=st.integers(0, len(SPEAKERS) - 1), seed=st.integers(0, 99))
def test_another_utterance_of_the_speaker(dataset, row, seed):
    prompts = SpeakerPrompts(dataset)
    found = prompts.draw(f"u{row}", np.random.default_rng(seed))
    if SPEAKERS.count(SPEAKERS[row]) == 1 or SPEAKERS[row] is None:
        assert found is None
        return
    assert found["speaker"] == SPEAKERS[row]
    assert found["id"] != f"u{row}"
    again = pickle.loads(pickle.dumps(prompts)).draw(f"u{row}", np.random.default_rng(seed))
    assert again["id"] == found["id"]
    assert (again["content"] == found["content"]).all()


def test_every_other_utterance_has_its_turn(dataset):
    prompts = SpeakerPrompts(dataset)
    drawn = {prompts.draw("u2", np.random.default_rng(seed))["id"] for seed in range(50)}
    assert drawn == {"u0", "u6", "u10"}
    assert prompts.num_alone == 4


def test_rows_that_a_filter_leaves_out_are_no_prompts(folder):
    prompts = SpeakerPrompts(TokenDataset(folder, filter="num_samples > 4500"))
    drawn = {prompts.draw("u2", np.random.default_rng(seed))["id"] for seed in range(50)}
    assert drawn == {"u6", "u10"}
    with pytest.raises(TokensError, match=r"no utterance 'u0' in .*, where prompts are looked for"):
        prompts.draw("u0", np.random.default_rng(0))


def test_other_columns_tell_who_speaks(dataset):
    prompts = SpeakerPrompts(dataset, by="audio")
    assert prompts.num_alone == 0
    with pytest.raises(DatasetError, match="has no column voice"):
        SpeakerPrompts(dataset, by="voice")


@pytest.mark.parametrize("row", [0, 4])
def test_valle(dataset, factors, row):
    vocabulary = Vocabulary.of(factors, text=sorted(set("text 0123456789")))
    plain = ValleCollator(vocabulary=vocabulary, prompt_seconds=(0.1, 0.1))
    collate = ValleCollator(vocabulary=vocabulary, prompt_seconds=(0.1, 0.1), prompts=SpeakerPrompts(dataset))
    batch, without = collate([dataset[row]]), plain([dataset[row]])
    frames = dataset[row]["content"].shape[1]
    if row == 4:  # who speaks once gets the beginning of the utterance, as ever
        assert torch.equal(batch["prompt_codes"], without["prompt_codes"])
        return
    assert batch["codes"].shape[2] == batch["nar_labels"].shape[1] == frames
    assert batch["prompt_codes"].shape == (1, 6, 8)
    others = [np.concatenate([dataset[n][s.name] for s in factors.streams]) for n in (2, 6, 10)]
    stretches = [item[:, i : i + 8] for item in others for i in range(item.shape[1] - 7)]
    assert any((batch["prompt_codes"][0].numpy() == stretch).all() for stretch in stretches)
    assert torch.equal(batch["input_ids"], without["input_ids"])
    assert torch.equal(batch["prompt_codes"], collate([dataset[5], dataset[row]])["prompt_codes"][1:])


def test_factors_stand_behind_the_prompt(dataset, factors):
    vocabulary = Vocabulary.of(factors, text=["A", "B", "SIL"])
    collate = FactorCollator(
        vocabulary=vocabulary,
        text=True,
        stage=5,
        prompt_seconds=(0.1, 0.1),
        prompts=SpeakerPrompts(dataset),
        aligned_stream="content",
    )
    frames = dataset[0]["content"].shape[1]
    row = {**dataset[0], "phone": ["SIL", "A", "B"], "phone_frames_content": [2, 3, frames - 5]}
    batch = collate([row])
    assert batch["input_ids"].shape == (1, 6, 8 + frames)
    assert batch["prompt_mask"][0].tolist() == [1] * 8 + [0] * frames
    assert (batch["labels"][0, :, :8] == -100).all()
    ids = vocabulary.text_ids(["SIL", "A", "B"])
    spoken = [ids[0]] * 2 + [ids[1]] * 3 + [ids[2]] * (frames - 5)
    assert batch["frame_text"][0].tolist() == [vocabulary.pad_id] * 8 + spoken
    grid = np.concatenate([dataset[0][s.name] for s in factors.streams])
    assert (batch["input_ids"][0, :5, 8:].numpy() == grid[:5]).all()


def test_what_is_refused(dataset, factors):
    vocabulary = Vocabulary.of(factors, text=["A", "B"])
    prompts = SpeakerPrompts(dataset)
    with pytest.raises(ValueError, match="`prompts` needs `prompt_seconds` above 0"):
        FactorCollator(vocabulary=vocabulary, prompts=prompts)
    with pytest.raises(ValueError, match="`aligned_stream` says what the text is; set `text=True`"):
        FactorCollator(vocabulary=vocabulary, aligned_stream="content")
    row = {name: value for name, value in dataset[0].items() if name != "id"}
    with pytest.raises(TokensError, match="`prompts` needs the column `id`"):
        ValleCollator(vocabulary=vocabulary, text=False, prompts=prompts)([row])
    collate = FactorCollator(vocabulary=vocabulary, text=True, aligned_stream="content")
    with pytest.raises(
        TokensError, match="utterance 'u0' has no phone_frames_content, which `aligned_stream` needs"
    ):
        collate([{**dataset[0], "phone": ["A"]}])
    with pytest.raises(TokensError, match="needs it, but utterance 'u0' has none"):
        collate([dataset[0]])
    with pytest.raises(TokensError, match="Utterance 'u0': `durations` must be 2 numbers of frames"):
        collate([{**dataset[0], "phone": ["A", "B"], "phone_frames_content": [1, 2]}])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_prompts_in_workers_and_after_a_resume(dataset, factors, workers):
    vocabulary = Vocabulary.of(factors)
    collate = ValleCollator(
        vocabulary=vocabulary, text=False, prompt_seconds=(0.1, 0.1), prompts=SpeakerPrompts(dataset)
    )

    def read(stream, workers, steps=None):
        return list(islice(stream.loader(num_workers=workers, collate_fn=collate), steps))

    whole = [item["prompt_codes"] for item in read(dataset.stream(batch_size=2, lanes=2), 0)]
    stream = dataset.stream(batch_size=2, lanes=2)
    first = [item["prompt_codes"] for item in read(stream, workers, 2)]
    again = dataset.stream(batch_size=2, lanes=2)
    again.load_state_dict(json.loads(json.dumps(stream.state_dict())))
    got = first + [item["prompt_codes"] for item in read(again, 0)]
    assert len(got) == len(whole) == 6
    assert all(map(torch.equal, got, whole))
