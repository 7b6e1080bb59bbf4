"""Every layout gives back the codes of recorded speech: one stream, factors, a level beside the codes, several frame rates."""

import csv
import importlib.util

import pytest

from speechtok import load_tokenizer
from speechtok.demo.demonstration import CORPUS
from tests.goldens.facodec.weights import write_published
from tests.lm.laws import check_added, check_batches, check_layouts, check_strings
from tests.tokenizers.funcodec.published import write_small_folder
from tests.tokenizers.units.folder import make_folder


@pytest.fixture(scope="module")
def clips():
    """Path and text of two recordings."""
    with CORPUS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [(CORPUS.parent / row["audio"], row["text"]) for row in rows if row["speaker"] in ("ada", "lena")][
        :2
    ]


def dmel(folder):
    return load_tokenizer("dmel_16k")


def facodec(folder):
    for model in ("encoder", "decoder", "redecoder"):
        write_published(folder, model)
    return load_tokenizer("facodec", checkpoint=folder)


def funcodec(folder):
    write_small_folder(folder)
    return load_tokenizer(folder)


def units(folder):
    make_folder(folder)
    return load_tokenizer(folder / "tokenizer.yaml", checkpoint=folder)


@pytest.mark.parametrize(
    ("make", "rates"),
    [
        (dmel, {"mel": 50.0}),
        (facodec, {"prosody": 80.0, "content": 80.0, "residual": 80.0}),
        (funcodec, {"acoustic": 1600.0}),
        (units, {"content": 50.0, "pitch": 12.5}),
    ],
)
def test_layouts_and_batches(make, rates, clips, tmp_path):
    tokenizer = make(tmp_path)
    assert {stream.name: stream.frame_rate for stream in tokenizer.streams} == rates
    for path, text in clips:
        options = {"num_codebooks": 4} if make is dmel else {}
        tokens = tokenizer.encode(path, resample=True, **options)
        assert all(len(codes.unique()) > 1 for codes in tokens.streams.values())
        check_layouts(tokens, text)
        check_batches(tokens, text)
        if importlib.util.find_spec("transformers"):
            check_strings(tokens, text, tmp_path / "exported")
            check_added(tokens, text, tmp_path / "extended")
