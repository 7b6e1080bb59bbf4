"""The dataset card: what comes from a corpus or a card stays one cell, one line, and text."""

import pyarrow as pa
import pytest

from speechtok.shards.dataset_readme import readme_body
from speechtok.shards.ledger import Ledger
from speechtok.shards.plan import PLAN_COLUMNS, Plan

EVIL = [
    "x`\n\n## Evil\n\n[click](https://evil)",
    "a | b | c",
    "<script>alert(1)</script>",
    "![](https://evil/x.png)",
    "\x1b[31mred\u202e",
    "``` ```",
]


def sections(body):
    return [line for line in body.splitlines() if line.startswith("#")]


@pytest.fixture
def body_of(toy_info):
    def make(columns=(), card=None, corpus="corpus"):
        types = dict(PLAN_COLUMNS) | dict.fromkeys(columns, pa.string())
        values = {"id": "a", "audio": "a.wav", "start": 0.0, "split": "train", "seconds": 1.0, "shard": 0}
        table = pa.table({name: pa.array([values.get(name)], type=kind) for name, kind in types.items()})
        settings = {
            "tokenizer": toy_info.to_dict(),
            "card": {"name": "toy", "licence_code": "MIT", "citation": "none", **(card or {})},
            "corpus": {"name": corpus, "kind": "folder"},
            "speechtok_version": "1",
        }
        return readme_body(Plan.of_tables(settings, table.schema, [table]), Ledger())

    return make


def test_a_card_that_states_nothing(body_of):
    assert "licence of the code: not stated" in body_of(card={"licence_code": "", "citation": ""})


@pytest.mark.parametrize("evil", EVIL)
def test_names_of_columns(body_of, evil):
    plain, body = body_of(["mood"]), body_of([evil])
    assert sections(body) == sections(plain)
    assert len(body.splitlines()) == len(plain.splitlines())
    (line,) = (line for line in body.splitlines() if line.endswith("| from the corpus |"))
    assert line.startswith("| `")
    assert line.replace("\\|", "").count("|") == 4
    assert all(part.isprintable() for part in body.splitlines())


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("field", ["description", "licence_code", "licence_weights", "citation"])
def test_fields_of_the_card(body_of, evil, field):
    plain, body = body_of(card={"description": "x"}), body_of(card={"description": "x", field: evil})
    assert sections(body) == sections(plain)
    assert len(body.splitlines()) == len(plain.splitlines())
    for mark in ("](https://evil", "<script"):
        at = body.find(mark)
        assert at < 0 or body[at - 1 : at + 1] == "\\" + mark[0]


@pytest.mark.parametrize("evil", EVIL)
def test_names_of_corpora_and_files(body_of, evil):
    card = {"files": [{"repository": evil, "revision": evil}]}
    plain = body_of(card={"files": [{"repository": "a/b", "revision": "c"}]})
    assert sections(body_of(corpus=evil, card=card)) == sections(plain)
