"""A README is rewritten, and what people have added stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.cards import merge, split_head, with_head

OURS = with_head({"configs": [1], "tags": ["speech"]}, "# Title\n\nRows: 2\n\n## Use\n\nOpen it.\n")


def test_there_and_back():
    assert split_head(OURS) == (
        {"configs": [1], "tags": ["speech"]},
        "# Title\n\nRows: 2\n\n## Use\n\nOpen it.\n",
    )


@pytest.mark.parametrize("text", ["", "# No head\n", "---\n- a\n---\nx", "---\na: [\n---\nx", "---\na: 1\n"])
def test_without_a_head_all_is_body(text):
    assert split_head(text) == ({}, text)


def test_what_only_the_old_one_says_stays():
    old = with_head(
        {"license": "mit", "configs": [0], "tags": ["read", "speech"], "size": 1},
        "# Mine\n\n## Use\n\nOld.\n\n## Notes\n\nBy Anna.\n\n```\n## no title\n```\n\n## Statistics\n\n3\n\n## Notes\n\nMore.",
    )
    assert merge(OURS, old, stale=["size", "Statistics"]) == with_head(
        {"configs": [1], "tags": ["speech", "read"], "license": "mit"},
        "# Title\n\nRows: 2\n\n## Use\n\nOpen it.\n\n## Notes\n\nBy Anna.\n\n```\n## no title\n```\n\n## Notes\n\nMore.\n",
    )


lines = st.lists(st.sampled_from(["## A", "## B", "## Use", "# x", "", "words", "```", "---"]), max_size=8)
heads = st.dictionaries(st.sampled_from(["license", "tags", "configs"]), st.lists(st.text("ab"), max_size=2))


@given(head=heads, body=lines)
def test_merging_again_changes_nothing(head, body):
    assert merge(OURS, "") == OURS
    once = merge(OURS, with_head(head, "\n".join(body)))
    assert merge(OURS, once) == once
