import hashlib
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml

import speechtok
from speechtok import loading
from speechtok.cards import CardFile, find_card
from speechtok.errors import CardError, CheckpointError, HubError, StorageError
from speechtok.hub import check_sha256
from speechtok.tokenizers.dmel.tokenizer import DMelTokenizer
from speechtok.tokenizers.fingerprint import fingerprint


def dmel(**changes):
    return replace(find_card("dmel_16k")[0], **changes)


class Weighted(DMelTokenizer):
    """dMel with a weight that does nothing but be loaded."""

    @classmethod
    def from_card(cls, card, files, *, device, dtype):
        from safetensors.torch import load_file

        tokenizer = cls(card, device=device, dtype=dtype)
        tokenizer.files = files
        tokenizer.weights = load_file(files["model.safetensors"])
        return tokenizer

    def _state_dict(self):
        return self.weights


@pytest.fixture
def weighted(tmp_path, monkeypatch):
    """A card whose family reads one file beside it."""
    from safetensors.torch import save_file

    monkeypatch.setitem(loading.FAMILIES, "weighted", "anywhere:Weighted")
    monkeypatch.setattr(loading, "import_module", lambda name: SimpleNamespace(Weighted=Weighted))
    folder = tmp_path / "published"
    folder.mkdir()
    save_file({"a": torch.arange(3.0)}, folder / "model.safetensors")
    card = dmel(name="weighted", family="weighted", files=(CardFile(path="model.safetensors"),))
    return card, folder


# --- names ---


def test_by_name(speech):
    tokenizer = speechtok.load_tokenizer("dmel_16k")
    assert tokenizer.name == "dmel_16k"
    assert tokenizer.sample_rate == 16000
    assert [stream.name for stream in tokenizer.streams] == ["mel"]
    assert tokenizer.speaker_embedding_dim is None
    assert tokenizer.dtype == torch.float32
    assert len(tokenizer.encode(speech(0.5))) == 1


def test_dtype_and_to():
    tokenizer = speechtok.load_tokenizer("dmel_16k", dtype=torch.float64)
    assert tokenizer.decode(tokenizer.encode(torch.zeros(640))).dtype == torch.float64
    tokenizer.to(dtype=torch.float32)
    assert tokenizer.decode(tokenizer.encode(torch.zeros(640))).dtype == torch.float32


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "xla"])
def test_device_that_is_not_there(device):
    with pytest.raises(
        ValueError, match=rf"^`device` '{device}' cannot be used here: [^\n]+; use another, such as 'cpu'\.$"
    ):
        speechtok.load_tokenizer("dmel_16k", device=device)
    tokenizer = speechtok.load_tokenizer("dmel_16k")
    with pytest.raises(ValueError, match="cannot be used here"):
        tokenizer.to(device)
    assert tokenizer.device == torch.device("cpu")


def test_unknown_name():
    with pytest.raises(CardError, match="There is no tokenizer 'dmel'; did you mean 'dmel_16k'"):
        speechtok.load_tokenizer("dmel")


def test_unknown_family(tmp_path):
    dmel(family="dmle").write(tmp_path / "x.yaml")
    with pytest.raises(
        CardError, match="Card 'dmel_16k' names the unknown family 'dmle'; did you mean 'dmel'"
    ):
        speechtok.load_tokenizer(tmp_path / "x.yaml")


def test_neither_folder_nor_repository():
    with pytest.raises(HubError, match="'some/one' is neither a local folder nor a reachable Hub repository"):
        speechtok.load_tokenizer("some/one")


def test_missing_folder_is_not_sought_on_the_hub():
    with pytest.raises(CardError, match=r"There is no tokenizer '\./nothing'"):
        speechtok.load_tokenizer("./nothing")


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        (
            {"num_levles": 8},
            "architecture of card 'dmel_16k' has the unknown field num_levles; did you mean 'num_levels'",
        ),
        ({"num_levels": "8"}, "has '8' in field num_levels, which must be of type int"),
        ({"num_levels": 1}, "num_levels must be at least 2"),
        ({"num_levels": 8}, "Card 'dmel_16k' states the streams"),
    ],
)
def test_unusable_architecture(tmp_path, architecture, sentence):
    dmel(architecture=architecture).write(tmp_path / "x.yaml")
    with pytest.raises(CardError, match=sentence):
        speechtok.load_tokenizer(tmp_path / "x.yaml")


# --- save_pretrained ---


def test_save_pretrained(tmp_path, speech):
    tokenizer = speechtok.load_tokenizer("dmel_16k")
    tokenizer.save_pretrained(tmp_path / "saved")
    again = speechtok.load_tokenizer(tmp_path / "saved")
    assert again.info == tokenizer.info
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["tokenizer.yaml"]
    assert again.encode(speech(0.5)).equals(tokenizer.encode(speech(0.5)))


def test_save_pretrained_with_weights(tmp_path, weighted):
    card, folder = weighted
    card.write(folder / "tokenizer.yaml")
    tokenizer = speechtok.load_tokenizer(folder)
    tokenizer.save_pretrained(tmp_path / "saved")
    again = speechtok.load_tokenizer(tmp_path / "saved")
    assert torch.equal(again.weights["a"], tokenizer.weights["a"])
    assert again.files["model.safetensors"] == tmp_path / "saved" / "model.safetensors"


# --- files ---


def test_checkpoint_folder(tmp_path, weighted):
    card, folder = weighted
    card.write(tmp_path / "weighted.yaml")
    tokenizer = speechtok.load_tokenizer(tmp_path / "weighted.yaml", checkpoint=folder)
    assert tokenizer.files == {"model.safetensors": folder / "model.safetensors"}
    with pytest.raises(
        CheckpointError, match=r"'weighted' needs the file model.safetensors in .*, where there is none"
    ):
        speechtok.load_tokenizer(tmp_path / "weighted.yaml", checkpoint=tmp_path)
    with pytest.raises(
        CheckpointError, match=r"'weighted' needs the file model\.safetensors beside its card"
    ):
        speechtok.load_tokenizer(tmp_path / "weighted.yaml")


def test_files_of_a_card_lie_in_its_folder(tmp_path, weighted):
    card, folder = weighted
    for path in ("../secret.bin", "/etc/passwd", "a\\..\\b"):
        replace(card, files=(CardFile(path=path),)).write(folder / "tokenizer.yaml")
        for checkpoint in (None, folder):
            with pytest.raises(StorageError, match="only plain paths below it are taken"):
                speechtok.load_tokenizer(folder, checkpoint=checkpoint)


def test_hash_is_checked(tmp_path, weighted):
    card, folder = weighted
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    for sha256 in (digest, "0" * 64):
        replace(card, files=(replace(card.files[0], sha256=sha256),)).write(folder / "tokenizer.yaml")
        if sha256 == digest:
            assert speechtok.load_tokenizer(folder).name == "weighted"
        else:
            with pytest.raises(CheckpointError, match=f"has sha256 {digest}, but its card states 0000"):
                speechtok.load_tokenizer(folder)


def test_file_on_the_hub(tmp_path, weighted):
    card, folder = weighted
    file = replace(card.files[0], repository="some/one")
    replace(card, files=(file,)).write(tmp_path / "weighted.yaml")
    with pytest.raises(
        HubError, match=r"model.safetensors of some/one is not in the local cache .* checkpoint=FOLDER"
    ):
        speechtok.load_tokenizer(tmp_path / "weighted.yaml")
    assert speechtok.load_tokenizer(tmp_path / "weighted.yaml", checkpoint=folder).name == "weighted"


def test_a_repository_is_credited_only_for_files_of_its_own(tmp_path, weighted):
    """What lies in a user's folder may be anything; the dataset made with it does not name a repository for it."""
    card, folder = weighted
    digest, commit = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(), "0123456789" * 4

    def files(checkpoint, **stated):
        file = replace(card.files[0], repository="some/one", revision="v1", **stated)
        replace(card, files=(file,)).write(tmp_path / "weighted.yaml")
        (loaded,) = speechtok.load_tokenizer(tmp_path / "weighted.yaml", checkpoint=checkpoint).card.files
        return loaded.repository, loaded.revision

    def cached(repository):
        return shutil.copytree(folder, tmp_path / f"models--{repository}" / "snapshots" / commit)

    assert files(folder) == (None, None)
    assert files(folder, sha256=digest) == ("some/one", "v1")
    assert files(cached("some--one")) == ("some/one", commit)
    assert files(cached("some--other")) == (None, None)


def test_check_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    check_sha256(tmp_path / "x", hashlib.sha256(b"abc").hexdigest())
    with pytest.raises(CheckpointError, match="fetch the file again"):
        check_sha256(tmp_path / "x", "00")


# --- fingerprint ---


def test_fingerprint_does_not_know_the_name(tmp_path):
    card = dmel(name="renamed", description="Another.", licence_code="MIT")
    card.write(tmp_path / "renamed.yaml")
    original = speechtok.load_tokenizer("dmel_16k")
    renamed = speechtok.load_tokenizer(tmp_path / "renamed.yaml")
    assert renamed.name == "renamed"
    assert renamed.fingerprint == original.fingerprint


def test_fingerprint_knows_values_not_their_spelling(tmp_path):
    plain = yaml.safe_load(yaml.safe_dump(dmel().to_dict()))
    prints = {}
    for label, architecture in (
        ("default", {}),
        ("spelled", {"min_hz": 0, "max_db": -10}),
        ("other", {"max_db": -9}),
    ):
        (tmp_path / f"{label}.yaml").write_text(yaml.safe_dump({**plain, "architecture": architecture}))
        prints[label] = speechtok.load_tokenizer(tmp_path / f"{label}.yaml").fingerprint
    assert prints["default"] == prints["spelled"] != prints["other"]
    assert prints["default"] == speechtok.load_tokenizer("dmel_16k", dtype=torch.float64).fingerprint


def test_fingerprint_of_weights():
    weights = {"a": torch.arange(4.0), "b": torch.tensor(1.5)}
    base = fingerprint("m/1", {"x": 1}, weights)
    assert len(base) == 32
    assert base == fingerprint("m/1", {"x": 1}, dict(reversed(weights.items())))
    others = [
        fingerprint("m/2", {"x": 1}, weights),
        fingerprint("m/1", {"x": 2}, weights),
        fingerprint("m/1", {"x": 1}, {**weights, "a": weights["a"] + 1e-6}),
        fingerprint("m/1", {"x": 1}, {**weights, "a": weights["a"].double()}),
        fingerprint("m/1", {"x": 1}, {**weights, "a": weights["a"].reshape(2, 2)}),
        fingerprint("m/1", {"x": 1}, {"a": weights["a"], "c": weights["b"]}),
        fingerprint("m/1", {"x": 1}, {**weights, "a": weights["a"].bfloat16()}),
        fingerprint("m/1", {"x": 1}),
    ]
    assert len({base, *others}) == len(others) + 1


def test_checkpoint_in_a_store(tmp_path, s3):
    """A saved tokenizer, and the checkpoint of a card, may lie in an object store."""
    speechtok.load_tokenizer("dmel_16k").save_pretrained(tmp_path / "saved")
    for file in (tmp_path / "saved").iterdir():
        (s3 / "saved" / file.name).put(file)
    loaded = speechtok.load_tokenizer(f"{s3}/saved")
    assert loaded.fingerprint == speechtok.load_tokenizer("dmel_16k").fingerprint
    with pytest.raises(StorageError, match="There is nothing at s3://"):
        speechtok.load_tokenizer("facodec", checkpoint=f"{s3}/nothing")
    (s3 / "half" / "ns3_facodec_encoder.bin").put(b"x")
    with pytest.raises(CheckpointError, match="needs the file"):
        speechtok.load_tokenizer("facodec", checkpoint=f"{s3}/half")
