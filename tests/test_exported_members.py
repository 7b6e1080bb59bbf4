import inspect

import pytest

import speechtok

HEAVY = ("torch", "ray", "datasets", "transformers", "matplotlib", "librosa")
REPORT = f"import sys; print([name for name in {HEAVY} if name in sys.modules])"


def test_names_are_sorted():
    assert speechtok.__all__ == sorted(speechtok.__all__)


@pytest.mark.parametrize("name", speechtok.__all__)
def test_names_exist(name):
    assert getattr(speechtok, name) is not None
    assert name in dir(speechtok)


def test_no_public_name_is_left_out():
    assert set(speechtok._HOMES) | {"__version__"} == set(speechtok.__all__)


@pytest.mark.parametrize("name", ["tokenize", "verify", "push", "pull", "load_tokenizer"])
def test_functions_say_what_they_take(name):
    parameters = inspect.signature(getattr(speechtok, name)).parameters.values()
    assert all(item.kind not in (item.VAR_KEYWORD, item.VAR_POSITIONAL) for item in parameters)
    assert all(item.annotation != "Any" for item in parameters)


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'speechtok' has no attribute 'load_tokeniser'"):
        speechtok.load_tokeniser  # noqa: B018


def test_from_pretrained_is_load_tokenizer():
    assert speechtok.SpeechTokenizer.from_pretrained("dmel_16k").fingerprint == (
        speechtok.load_tokenizer("dmel_16k").fingerprint
    )


def test_errors_share_a_root():
    kinds = (
        "CardError",
        "CheckpointError",
        "AudioError",
        "TokensError",
        "DatasetError",
        "JobError",
        "HubError",
    )
    for kind in kinds:
        assert issubclass(getattr(speechtok.errors, kind), speechtok.errors.SpeechtokError)


@pytest.mark.parametrize(
    "action",
    [
        "import speechtok",
        "import speechtok; assert 'dmel_16k' in speechtok.list_tokenizers()",
        "from speechtok.cards import find_card; assert find_card('dmel_16k')[0].sample_rate == 16000",
    ],
)
def test_light_import(run_python, action):
    assert run_python(f"{action}\n{REPORT}").strip() == "[]"


def test_help_does_not_look_through_installed_packages(run_python):
    script = "from speechtok.cli import tokenize; import sys; print('importlib.metadata' in sys.modules)"
    assert run_python(script).strip() == "False"


def test_planning_is_light(run_python, write_corpus, tmp_path):
    write_corpus(tmp_path, {"a.wav": 0.5, "b.wav": 0.25})
    script = f"""
import sys
from speechtok.cards import find_card
from speechtok.corpora import read_corpus
from speechtok.engine.looking import Lookers
from speechtok.engine.planning import make_plan
from speechtok.engine.settings import JobSettings
card, _ = find_card("dmel_16k")
with Lookers(count=1) as lookers:
    plan = make_plan(read_corpus(sys.argv[1]), card.info("x"), card.to_dict(), JobSettings(), lookers)
assert plan.seconds == 0.75 and len(plan.tasks) == 1
{REPORT}
"""
    assert run_python(script, tmp_path).strip() == "[]"
