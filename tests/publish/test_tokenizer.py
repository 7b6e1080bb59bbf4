"""A tokenizer goes to the Hub as safetensors and card, and is loaded from there."""

import numpy as np
import pytest
import yaml

from speechtok import load_tokenizer
from speechtok.errors import HubError

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_without_weights(hub):
    tokenizer = load_tokenizer("dmel_16k")
    pushed = tokenizer.push_to_hub("anna/dmel", private=False, tag="v1")
    assert pushed.url.endswith("/anna/dmel")
    assert not pushed.private
    again = load_tokenizer("anna/dmel", revision="v1")
    assert again.fingerprint == tokenizer.fingerprint
    repo = hub.repos["model", "anna/dmel"]
    files = repo.commits[repo.branches["main"]]["files"]
    assert set(files) == {".gitattributes", "README.md", "tokenizer.yaml"}
    text = files["README.md"]["data"].decode()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "apache-2.0"
    assert head["library_name"] == "speechtok"
    assert 'load_tokenizer("anna/dmel")' in text
    assert tokenizer.fingerprint in text
    assert tokenizer.push_to_hub("anna/dmel").sent == 0


@pytest.fixture
def units(tmp_path):
    """Log-mel units: the quantizer is all that has to be learnt."""
    (tmp_path / "kmeans").mkdir()
    np.save(
        tmp_path / "kmeans" / "km.npy", np.random.default_rng(0).standard_normal((50, 80), dtype=np.float32)
    )
    return load_tokenizer("logmel_km50", checkpoint=tmp_path)


def test_with_weights(hub, units, speech):
    pushed = units.push_to_hub("anna/units")
    repo = hub.repos["model", "anna/units"]
    assert "model.safetensors" in repo.commits[pushed.commit]["files"]
    again = load_tokenizer("anna/units")
    assert again.fingerprint == units.fingerprint
    waveform = speech(1.0)
    assert again.encode(waveform).equals(units.encode(waveform))


def test_not_there(hub):
    with pytest.raises(
        HubError,
        match=r"'anna/nothing' is neither a local folder nor a reachable Hub repository with a tokenizer\.yaml",
    ):
        load_tokenizer("anna/nothing")
