"""Fitting units and the pitch quantizer."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechtok import load_tokenizer
from speechtok.cli.main import run
from speechtok.errors import DatasetError
from speechtok.tokenizers.units.jukebox import Codebook, VqVaeSettings
from speechtok.training.f0_vq import F0VqSettings, F0VqTraining, MovingCodebook
from speechtok.training.minibatch_kmeans import KMeansSettings, fit_kmeans
from speechtok.training.units import train_kmeans
from tests.goldens import recipe

GOLDENS = Path(__file__).parents[1] / "goldens" / "units"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for seed in range(4):
        soundfile.write(folder / f"{seed}.wav", 0.5 * recipe.speechlike(24000, seed=seed), 16000)
    return folder


def test_one_update_of_the_codebook() -> None:
    want = dict(np.load(GOLDENS / "f0_vq_ema.npz"))
    meta = json.loads(str(want["meta"]))
    vectors = torch.from_numpy(recipe.tensor("vq.level_blocks.0.k", (20, 128), gain=4.0)).double()
    x = torch.from_numpy(np.random.RandomState(meta["x_seed"]).standard_normal((2, 128, meta["T"])))
    book = Codebook(VqVaeSettings()).double()
    book.level_blocks[0].k.copy_(vectors)
    codes = book.encode(x)
    assert np.array_equal(codes, want["codes"])
    commit = torch.nn.functional.mse_loss(x, book.decode(codes))
    assert float(commit) == pytest.approx(meta["commit"], rel=1e-9)
    moving = MovingCodebook(vectors, momentum=meta["mu"], threshold=meta["threshold"])
    rows = x.transpose(1, 2).reshape(-1, 128)
    after = moving.update(rows, codes.flatten(), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(moving.counts.numpy(), want["k_elem"], rtol=1e-9)
    np.testing.assert_allclose(moving.sums[:, ::4].numpy(), want["k_sum"], rtol=1e-9, atol=1e-12)
    used = torch.from_numpy(want["used"].astype(bool))
    np.testing.assert_allclose(after[used][:, ::4].numpy(), want["k_after_used_rows"], rtol=1e-9, atol=1e-12)


def test_clusters_are_found() -> None:
    random = np.random.default_rng(0)
    true = (8 * random.standard_normal((6, 3))).astype(np.float32)
    features = true[random.integers(6, size=4000)] + 0.1 * random.standard_normal((4000, 3)).astype(
        np.float32
    )
    settings = KMeansSettings(num_clusters=6, passes=5, batch_size=500)
    centers = fit_kmeans(features, settings)
    assert np.array_equal(centers, fit_kmeans(features, settings))
    nearest = np.linalg.norm(true[:, None] - centers[None], axis=2).min(axis=1)
    assert nearest.max() < 0.1
    with pytest.raises(ValueError, match="6 clusters need at least as many frames, but there are 5"):
        fit_kmeans(features[:5], settings)


def test_trained_units_load_as_a_tokenizer(corpus, tmp_path, capsys) -> None:
    output = tmp_path / "mine"
    assert run(["train", "kmeans", str(corpus), "--output", str(output), "--clusters", "8"]) == 0
    assert "Wrote 8 units" in capsys.readouterr().out
    assert (output / "kmeans" / "training.png").stat().st_size > 1000
    arguments = ["train", "f0-vq", str(corpus), "--output", str(output), "--steps", "2"]
    assert run(arguments) == 0
    assert run(arguments) == 0
    assert "already has 2 steps" in capsys.readouterr().out
    tokenizer = load_tokenizer(output)
    tokens = tokenizer.encode(corpus / "0.wav")
    assert tokens["content"].shape == (1, 1, tokenizer.num_frames(24000, "content"))
    assert tokens["pitch"].shape == (1, 1, tokenizer.num_frames(24000, "pitch"))
    assert len(tokens["content"].unique()) > 2


def test_a_run_goes_on_as_if_it_had_not_stopped(corpus, tmp_path) -> None:
    settings = F0VqSettings(steps=2, batch_size=2)
    before, threads = torch.get_num_threads(), []
    F0VqTraining(corpus, tmp_path, settings).run(lambda *_: threads.append(torch.get_num_threads()))
    assert threads == [1, 1]
    assert torch.get_num_threads() == before
    again = F0VqTraining(corpus, tmp_path, F0VqSettings(steps=3, batch_size=2))
    again.run()
    assert again.step == 3
    assert len(again.history) == 1
    state = torch.load(tmp_path / "f0" / "g_00000003", weights_only=True)
    assert state["codebook"]["counts"].shape == (20,)
    other = F0VqTraining(corpus, tmp_path / "other", settings)
    other.run()
    first = torch.load(tmp_path / "f0" / "g_00000002", weights_only=True)
    second = torch.load(tmp_path / "other" / "f0" / "g_00000002", weights_only=True)
    for name, value in first["generator"].items():
        assert torch.equal(value, second["generator"][name])


def test_too_little_audio(tmp_path) -> None:
    soundfile.write(tmp_path / "short.wav", recipe.speechlike(800), 16000)
    with pytest.raises(DatasetError, match="gives 3 frames, too few for 100 units"):
        train_kmeans(tmp_path, tmp_path / "out", settings=KMeansSettings())


def test_a_run_that_is_stopped_goes_on(corpus, tmp_path) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, metrics: dict[str, float]) -> None:
        if step == 3:
            raise Stop

    settings = F0VqSettings(steps=4, save_every=1, batch_size=2)
    with pytest.raises(Stop):
        F0VqTraining(corpus, tmp_path, settings).run(on_step=stop)
    assert [path.name for path in sorted((tmp_path / "f0").glob("g_*"))] == ["g_00000002"]
    again, seen = F0VqTraining(corpus, tmp_path, settings), []
    again.run(on_step=lambda step, metrics: seen.append(step))
    assert seen == [3, 4]
    assert (tmp_path / "f0" / "g_00000004").is_file()
