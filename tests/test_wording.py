import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.wording import json_text, markdown_code, markdown_text, printable

HARMFUL = [
    "\x1b]0;x\x07",
    "\x9b31m",
    "\r\n",
    "\x08",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u2028",
    "\ufeff",
    "\udcff",
    "\U000e0041",
]


@pytest.mark.parametrize("text", HARMFUL)
def test_what_a_terminal_would_act_on_is_spelled_out(text):
    assert printable(f"a{text}b").isprintable()
    assert printable(f"a{text}b").startswith("a\\")
    assert json_text({text: [text]}).replace("\n", "").isprintable()
    assert json.loads(json_text({text: [text]})) == {text: [text]}


@pytest.mark.parametrize("text", ["Žluťoučký kůň", "می‌خواهم", "👩‍🔬", "日本　語", "a\xa0b", "\\x1b", ""])
def test_what_people_write_stays(text):
    assert printable(text) == text
    assert json_text(text) == json.dumps(text, ensure_ascii=False)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text(text):
    printable(text).encode()
    assert "\n" not in printable(text)
    assert json.loads(json_text(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dMel, 80 bands × 16 (arXiv:2407.15835)", "dMel, 80 bands × 16 (arXiv:2407.15835)"),
        ("a\n## Evil", "a\\\\n## Evil"),
        ("[x](http://a)", "\\[x\\](http://a)"),
        ("![x](http://a)", "!\\[x\\](http://a)"),
        ("<img src=x>", "\\<img src=x>"),
        ("`a` | b", "\\`a\\` \\| b"),
        ("\\[x](y)", "\\\\\\[x\\](y)"),
    ],
)
def test_markdown_text(text, shown):
    assert markdown_text(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mel", "`mel`"),
        ("a|b", "`a\\|b`"),
        ("a`b", "``a`b``"),
        ("`a`", "`` `a` ``"),
        ("a\n\n## Evil", "`a\\n\\n## Evil`"),
        ("", "`  `"),
    ],
)
def test_markdown_code(text, shown):
    assert markdown_code(text) == shown
