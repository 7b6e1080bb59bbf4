"""speechtok inside fairseq2; runs where fairseq2 is installed (`make test-fairseq2`)."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("fairseq2", reason="fairseq2 has an environment of its own: make test-fairseq2")

from fairseq2 import init_fairseq2
from fairseq2.assets import AssetCardError, AssetStore
from fairseq2.composition import register_file_assets
from fairseq2.gang import FakeGang, Gangs
from fairseq2.runtime.dependency import get_dependency_resolver

import speechtok
from speechtok.cards import list_tokenizers
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError
from speechtok.fairseq2 import (
    SpeechTokenDatasetConfig,
    get_speech_token_dataset_hub,
    load_speech_tokenizer,
)
from speechtok.publish.dataset import push_dataset
from tests.goldens.facodec.weights import write_published

CPU = torch.device("cpu")

pytestmark = pytest.mark.filterwarnings("ignore:`hg_exporter` is deprecated:DeprecationWarning")


def gangs(rank=0, size=1):
    one, own = FakeGang(CPU), FakeGang(CPU, rank=rank, size=size)
    return Gangs(root=own, dp=own, rdp=own, sdp=one, tp=one, pp=one)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory, write_corpus):
    """A token dataset of 24 utterances in several shards."""
    folder = tmp_path_factory.mktemp("fairseq2")
    corpus = write_corpus(folder / "corpus", {f"u{n:02}.wav": 0.3 + 0.05 * n for n in range(24)})
    settings = JobSettings(num_codebooks=3, shard_seconds=6)
    tokenize_corpus(corpus, folder / "tokens", settings=settings, run=RunSettings(workers=1))
    return folder / "tokens"


@pytest.fixture(scope="module")
def cards(tokens):
    cards = tokens.parent / "cards.yaml"
    cards.write_text(
        f"name: clips\ndataset_family: speechtok\ndataset_config:\n  path: {tokens}\n  split: train\n---\n"
        f"name: nowhere\ndataset_family: speechtok\ndataset_config:\n  path: {tokens.parent / 'nothing'}\n---\n"
        "name: my_dmel\nbase: dmel_16k\n---\n"
        f"name: my_facodec\nbase: facodec\ncheckpoint: {tokens.parent}\n---\n"
        "name: no_tokenizer\nmodel_family: wav2vec2\n"
    )
    init_fairseq2(extras=lambda container: register_file_assets(container, cards))
    return get_speech_token_dataset_hub()


def names(steps):
    return [name for step in steps for batch in step for name in batch.example["id"]]


def test_extension_is_found_through_its_entry_point(cards):
    store = get_dependency_resolver().resolve(AssetStore)
    assert set(list_tokenizers()) <= {name.split("@")[0] for name in store.asset_names}
    assert store.retrieve_card("facodec").field("sample_rate").as_(int) == 16000


def test_tokenizers_by_their_cards(cards, tmp_path):
    assert load_speech_tokenizer("my_dmel").fingerprint == speechtok.load_tokenizer("dmel_16k").fingerprint
    with pytest.raises(AssetCardError, match=r"'facodec' needs the file ns3_facodec_encoder\.bin in"):
        load_speech_tokenizer("my_facodec")
    with pytest.raises(AssetCardError, match="speechtok_tokenizer"):
        load_speech_tokenizer("no_tokenizer")


def test_batches_of_codes(cards, tokens):
    dataset = cards.open_dataset("clips")
    stored = {row["id"]: row["mel"] for row in speechtok.TokenDataset(tokens)}
    reader = dataset.create_reader(gangs(), max_tokens=120)
    seen = list(reader)
    assert sorted(names(seen)) == sorted(stored)
    for (batch,) in seen:
        assert batch.seqs.shape[0] * batch.seqs.shape[1] <= 120
        assert batch.seqs.shape[2] == 3
        for row, length, name in zip(batch.seqs, batch.seq_lens, batch.example["id"], strict=True):
            assert np.array_equal(row[:length].T.numpy(), stored[name])
    padding = sum(batch.padding for (batch,) in seen)
    assert padding <= 0.05 * sum(batch.num_elements + batch.padding for (batch,) in seen)


def test_batches_of_ids(cards):
    dataset = cards.open_dataset("clips")
    reader = dataset.create_reader(gangs(), batch_size=4, layout="ids", num_accumulate=2)
    step = next(reader)
    assert len(step) == reader.num_accumulate == 2
    for batch in step:
        for row, length, tokens in zip(batch.seqs, batch.seq_lens, batch.example.tokens, strict=True):
            assert torch.equal(dataset.vocabulary.split(row[:length])["mel"], tokens["mel"][0])
        inputs, targets = batch.as_auto_regressive()
        assert inputs.seqs.shape == targets.seqs.shape == (4, batch.seqs.shape[1] - 1)
        assert targets.num_target_elements == int(batch.target_mask.sum())


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("stop", [0, 2, 4])
def test_resume(cards, stop, workers):
    def make(rank=0, size=1):
        return cards.open_dataset("clips").create_reader(
            gangs(rank, size), batch_size=2, seed=5, num_workers=workers
        )

    whole, reader = names(make()), make()
    before = names(next(reader) for _ in range(stop))
    state = reader.state_dict()
    again = make()
    again.load_state_dict(state)
    assert before + names(again) == whole
    shares = [make(rank, 2) for rank in range(2)]
    for share in shares:
        share.load_state_dict(state)
    assert sorted(before + names(shares[0]) + names(shares[1])) == sorted(whole)


def test_epochs(cards):
    reader = cards.open_dataset("clips").create_reader(gangs(), batch_size=3)
    first = names(reader)
    assert list(reader) == []
    reader.reset()
    next(reader)
    reader.reset()
    second = names(reader)
    assert first != second
    assert sorted(first) == sorted(second)


def test_ranks_share(cards):
    dataset = cards.open_dataset("clips")
    shares = [names(dataset.create_reader(gangs(rank, 3), batch_size=2, lanes=3)) for rank in range(3)]
    assert [len(share) for share in shares] == [8, 8, 8]
    assert len(set().union(*shares)) == 24


def test_a_dataset_on_the_hub(tokens, hub, run_python):
    push_dataset(tokens, "anna/clips", tag="v1")
    script = (
        "from fairseq2 import init_fairseq2\n"
        "from speechtok.fairseq2 import SpeechTokenDatasetConfig, get_speech_token_dataset_hub\n"
        "init_fairseq2()\n"
        "for revision in ('v1', 'v9'):\n"
        "    config = SpeechTokenDatasetConfig(path='anna/clips', revision=revision)\n"
        "    try:\n"
        "        print(len(get_speech_token_dataset_hub().open_custom_dataset(config).rows))\n"
        "    except Exception as error:\n"
        "        print(error)\n"
    )
    found, missing = run_python(script).splitlines()[-2:]
    assert found == "24"
    assert "it has no such revision" in missing


def test_what_goes_wrong(cards, tokens):
    with pytest.raises(AssetCardError, match="nowhere asset card cannot be opened") as caught:
        cards.open_dataset("nowhere")
    assert "holds no token dataset" in str(caught.value.__cause__)
    with pytest.raises(Exception, match="needs `path` under `dataset_config`"):
        cards.open_custom_dataset(SpeechTokenDatasetConfig())
    dataset = cards.open_dataset("clips")
    for options, sentence in [
        ({}, "needs `max_tokens` or `batch_size`, got neither"),
        ({"batch_size": 1, "num_accumulate": 0}, "`num_accumulate` must be at least 1, got 0"),
        ({"batch_size": 1, "layout": "x"}, "`layout` must be codes or ids, got 'x'"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            dataset.create_reader(gangs(), **options)
    state = dataset.create_reader(gangs(), batch_size=2).state_dict()
    with pytest.raises(DatasetError):
        dataset.create_reader(gangs(), batch_size=3).load_state_dict(state)


def test_the_page_of_the_documentation(tmp_path, write_corpus, run_python, monkeypatch):
    """Its cards, put into the folder of the user's assets, and its Python blocks, run one after another."""
    page = (Path(__file__).parents[2] / "docs" / "fairseq2.md").read_text(encoding="utf-8")
    weights = tmp_path / "weights"
    weights.mkdir()
    for model in ("encoder", "decoder", "redecoder"):
        write_published(weights, model)
    corpus = write_corpus(tmp_path / "corpus", {f"{n}.wav": 0.5 + 0.1 * n for n in range(3)})
    tokenize_corpus(
        corpus, tmp_path / "tokens", tokenizer="facodec", checkpoint=weights, run=RunSettings(workers=1)
    )
    cards = "---\n".join(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    for shown, real in (("/data/tokens", "tokens"), ("/models/naturalspeech3_facodec", "weights")):
        assert shown in cards
        cards = cards.replace(shown, str(tmp_path / real))
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "cards.yaml").write_text(cards)
    monkeypatch.setenv("FAIRSEQ2_USER_ASSET_DIR", str(tmp_path / "assets"))
    blocks = re.findall(r"```python notest\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    end = "print('end', tuple(batch.seqs.shape), sorted(batch.example['id']), tokenizer.name)"
    printed = run_python("\n".join([*blocks, end]))
    assert printed.splitlines()[-1] == "end (3, 56, 2) ['0.wav', '1.wav', '2.wav'] facodec"
