import io
from dataclasses import dataclass

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechtok.errors import AudioError
from speechtok.tokenizers.waveforms import is_finite, to_batch

RATE = 16000


def batch(waveform, num_samples=None, *, sample_rate=None, resample=False, dtype=torch.float32):
    return to_batch(
        waveform,
        num_samples,
        sample_rate=sample_rate,
        resample=resample,
        target_rate=RATE,
        device=torch.device("cpu"),
        dtype=dtype,
    )


def ramp(samples, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


@dataclass
class Samples:
    """What torchcodec's `AudioSamples` shows."""

    data: torch.Tensor
    sample_rate: int


class Decoder:
    """What torchcodec's `AudioDecoder` shows, which `datasets` hands out."""

    def __init__(self, data: torch.Tensor, sample_rate: int) -> None:
        self._samples = Samples(data, sample_rate)

    def get_all_samples(self) -> Samples:
        return self._samples


def wav_bytes(samples, rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture
def wav(tmp_path):
    def write(samples, rate=RATE, name="a.wav"):
        soundfile.write(tmp_path / name, samples, rate, subtype="FLOAT")
        return tmp_path / name

    return write


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: x[None], lambda x: [x, x[:3]]])
def test_gradients_pass(wrap):
    x = torch.from_numpy(ramp(50)).requires_grad_()
    found = batch(wrap(x))
    found.waveform.sum().backward()
    assert bool((x.grad >= 1).all())
    with torch.no_grad():
        assert not batch(wrap(x)).waveform.requires_grad


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x,
        lambda x: torch.from_numpy(x),
        lambda x: x[None],
        lambda x: torch.from_numpy(x)[None],
        lambda x: [x],
        lambda x: (torch.from_numpy(x),),
        lambda x: x.tolist(),
        lambda x: [x.tolist()],
        lambda x: x.astype(np.float64),
        lambda x: x.astype(">f4"),
        lambda x: np.repeat(x, 2)[::2],
        lambda x: {"array": x, "sampling_rate": RATE},
        lambda x: {"array": x.tolist(), "sampling_rate": RATE, "path": None},
        lambda x: [{"array": torch.from_numpy(x), "sampling_rate": RATE}],
        lambda x: Samples(torch.from_numpy(x)[None], RATE),
        lambda x: Decoder(torch.from_numpy(x)[None], RATE),
        lambda x: [Decoder(torch.from_numpy(x)[None], RATE)],
        lambda x: {"bytes": wav_bytes(x), "path": None},
        lambda x: [{"bytes": wav_bytes(x), "path": "1.flac"}],
    ],
)
def test_every_form_of_one_waveform(form):
    x = ramp(50)
    found = batch(form(x))
    assert found.waveform.dtype == torch.float32
    assert not found.waveform.requires_grad
    assert torch.equal(found.waveform, torch.from_numpy(x)[None])
    assert found.num_samples.tolist() == [50]
    assert found.num_samples.dtype == torch.int64


def test_read_only_arrays_give_no_warning():
    x = ramp(50)
    x.flags.writeable = False
    assert torch.equal(batch(x).waveform[0], torch.tensor(x))


def test_the_input_is_never_written_to():
    x = ramp(50)
    batch(x).waveform.zero_()
    assert np.array_equal(x, ramp(50))
    y = torch.from_numpy(ramp(50))
    batch([y, y[:3]]).waveform.zero_()
    assert np.array_equal(y, ramp(50))


@pytest.mark.parametrize("form", [str, lambda path: path, lambda path: {"path": str(path), "array": None}])
def test_files(wav, form):
    x = ramp(50)
    assert torch.equal(batch(form(wav(x))).waveform[0], torch.from_numpy(x))


def test_list_of_anything(wav):
    x = [ramp(length, seed) for seed, length in enumerate((50, 20, 70))]
    found = batch([wav(x[0]), {"array": x[1], "sampling_rate": RATE}, x[2].tolist()])
    assert found.num_samples.tolist() == [50, 20, 70]
    for index, samples in enumerate(x):
        assert torch.equal(found.waveform[index, : len(samples)], torch.from_numpy(samples))
        assert not found.waveform[index, len(samples) :].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_int16_is_scaled(dtype):
    x = np.array([0, 1, -32768, 32767], dtype=np.int16)
    assert batch(x, dtype=dtype).waveform.tolist() == [[0, 1 / 32768, -1, 32767 / 32768]]
    assert batch(torch.from_numpy(x), dtype=dtype).waveform.tolist() == [[0, 1 / 32768, -1, 32767 / 32768]]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 5))
def test_num_samples_cuts_padding(lengths, padding):
    rows = np.full((len(lengths), max(lengths) + padding + 9), np.nan, dtype=np.float32)
    for index, length in enumerate(lengths):
        rows[index, :length] = ramp(length, index)
    found = batch(rows, lengths)
    assert found.num_samples.tolist() == lengths
    assert found.waveform.shape == (len(lengths), max(lengths))
    for index, length in enumerate(lengths):
        assert torch.equal(found.waveform[index, :length], torch.from_numpy(ramp(length, index)))
        assert not found.waveform[index, length:].any()


def test_num_samples_of_one():
    assert batch(ramp(50), [20]).num_samples.tolist() == [20]
    assert batch(ramp(50), torch.tensor([20])).num_samples.tolist() == [20]


@pytest.mark.parametrize("lengths", [[10], [10, 51], [10, -1], [10, 10, 10]])
def test_num_samples_must_fit(lengths):
    with pytest.raises(ValueError, match=r"`num_samples` must hold 2 lengths in \[0, 50\]"):
        batch(np.zeros((2, 50)), lengths)


def test_num_samples_with_a_list():
    with pytest.raises(ValueError, match="`num_samples` goes with a padded 2-D `waveform`, not with a list"):
        batch([ramp(50)], [20])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.float16])
def test_other_rates(dtype):
    x = (ramp(800) * 100).astype(dtype) if dtype == np.int16 else ramp(800).astype(dtype)
    with pytest.raises(
        AudioError, match="is at 8000 Hz, but the tokenizer reads 16000 Hz; pass resample=True"
    ):
        batch(x, sample_rate=8000)
    assert batch(x, sample_rate=8000, resample=True).num_samples.tolist() == [1600]


def test_bfloat16_at_another_rate():
    found = batch(torch.zeros(800, dtype=torch.bfloat16), sample_rate=8000, resample=True)
    assert found.num_samples.tolist() == [1600]


def test_rate_of_each_input(wav):
    path = wav(ramp(800), 8000)
    with pytest.raises(AudioError, match=f"{path} is at 8000 Hz"):
        batch(path)
    with pytest.raises(AudioError, match="is at 8000 Hz"):
        batch({"array": ramp(800), "sampling_rate": 8000})
    found = batch([path, {"array": ramp(800), "sampling_rate": 32000}, ramp(800)], resample=True)
    assert found.num_samples.tolist() == [1600, 400, 800]


def test_rate_given_for_arrays():
    assert batch(ramp(50), sample_rate=RATE).num_samples.tolist() == [50]


@pytest.mark.parametrize(
    ("waveform", "sentence"),
    [
        (np.zeros((100, 2)), r"shape \(100, 2\), which looks like \(samples, channels\)"),
        ([np.zeros((2, 100))], r"`waveform` must be mono, of shape \(samples,\), got \(2, 100\)"),
        ([np.zeros(9), np.zeros((9, 2))], r"Utterance 1 of `waveform` must be mono"),
        (np.zeros((1, 2, 100)), r"must be mono, of shape \(samples,\), got \(1, 2, 100\)"),
        (np.float32(0.5), "must be a tensor, an array"),
        (np.zeros(()), r"must be mono, of shape \(samples,\), got \(\)"),
        ({"array": np.zeros((2, 100)), "sampling_rate": RATE}, "must be mono"),
        (np.zeros(0), "`waveform` is empty: it holds no sample"),
        ([np.zeros(5), np.zeros(0)], "Utterance 1 of `waveform` is empty"),
        ([], "`waveform` holds no utterance"),
        (np.zeros((0, 100)), "`waveform` holds no utterance"),
        (np.array([0, np.nan]), "`waveform` holds NaN or infinite samples"),
        ([np.zeros(2), np.array([0, np.inf])], "Utterance 1 of `waveform` holds NaN or infinite samples"),
    ],
)
def test_unusable_audio(waveform, sentence):
    with pytest.raises((AudioError, TypeError), match=sentence):
        batch(waveform)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_in_any_type(dtype, value):
    """One among many; the largest finite values are numbers, though their sum is none."""
    samples = torch.full((99,), torch.finfo(dtype).max, dtype=dtype, requires_grad=True)
    assert is_finite(samples)
    wrong = samples.detach().clone()
    wrong[77] = value
    with pytest.raises(AudioError, match="holds NaN or infinite samples"):
        batch(wrong)


def test_three_axes_with_lengths():
    with pytest.raises(AudioError, match=r"must be \(samples,\) or \(batch, samples\), got \(2, 1, 9\)"):
        batch(np.zeros((2, 1, 9)), [3, 3])


@pytest.mark.parametrize(
    ("waveform", "sentence"),
    [
        (None, "`waveform` must be a tensor, an array, a list of them, .* got NoneType"),
        (3.5, "got float"),
        (b"RIFF", "got bytes"),
        ([np.zeros(5), 7], "got int"),
        (np.zeros(5, dtype=np.int32), "must be float in .* or int16, got torch.int32"),
        (np.zeros(5, dtype=bool), "must be float in .* or int16, got torch.bool"),
        ({"text": "hello"}, "must hold `array` and `sampling_rate`, `bytes`, or `path`"),
        ({"array": np.zeros(5)}, "must hold `array` and `sampling_rate`"),
    ],
)
def test_what_is_not_audio(waveform, sentence):
    with pytest.raises((TypeError, AudioError), match=sentence):
        batch(waveform)


def test_stereo_file(wav):
    with pytest.raises(AudioError, match="it has 2 channels, and one is wanted"):
        batch(wav(np.zeros((50, 2))))


def test_missing_file(tmp_path):
    with pytest.raises(AudioError, match="there is no such file"):
        batch(tmp_path / "no.wav")


def test_bytes_win_over_a_file_of_their_name(wav, monkeypatch):
    path = wav(ramp(70, seed=1), name="1.flac.wav")
    monkeypatch.chdir(path.parent)
    found = batch({"bytes": wav_bytes(ramp(50)), "path": path.name})
    assert torch.equal(found.waveform[0], torch.from_numpy(ramp(50)))


def test_a_row_without_bytes_names_its_file_in_full(wav, monkeypatch):
    path = wav(ramp(70))
    monkeypatch.chdir(path.parent)
    with pytest.raises(
        AudioError, match=r"has no bytes, and its path 'a\.wav' does not say below which folder"
    ):
        batch({"bytes": None, "path": "a.wav"})
    for item in ({"bytes": None, "path": str(path)}, {"path": "a.wav"}):
        assert batch(item).waveform.shape == (1, 70)


def test_damaged_bytes_are_named_by_their_row():
    with pytest.raises(AudioError, match=r"Utterance 1 of `waveform` \('b\.mp3'\)"):
        batch([ramp(50), {"bytes": b"no sound", "path": "b.mp3"}])
    with pytest.raises(TypeError, match="must hold `bytes` of a sound file, got str"):
        batch({"bytes": "text"})


def test_a_decoder_states_rate_and_channels():
    with pytest.raises(AudioError, match="is at 8000 Hz, but the tokenizer reads 16000 Hz"):
        batch(Decoder(torch.zeros(1, 50), 8000))
    assert batch(Decoder(torch.zeros(1, 800), 8000), resample=True).waveform.shape == (1, 1600)
    with pytest.raises(AudioError, match="must be mono, but has 2 channels"):
        batch(Samples(torch.zeros(2, 50), RATE))


def test_samples_in_the_scale_of_int16_give_one_warning():
    loud = [1000 * ramp(50), 20_000 * ramp(50), ramp(50)]
    with pytest.warns(
        UserWarning, match=r"float samples of up to 1\d{4}.*divide samples in the scale of int16"
    ) as seen:
        batch(loud)
    assert len(seen) == 1
    batch([3 * ramp(50), np.full(50, -32_768, np.int16)])  # loud, and int16 itself
