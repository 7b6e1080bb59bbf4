import errno
import os
import subprocess
import sys

import pyarrow as pa
import pytest

from speechtok.cli import main
from speechtok.errors import CardError, DatasetError

COMMAND = [sys.executable, "-c", "from speechtok.cli.main import main; main()"]


class RustPanic(BaseException):
    """What the libraries written in Rust raise is no `Exception`."""


UNFORESEEN = [
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    KeyError("\x1b[2Jcolumn"),
    OverflowError("int too big to convert"),
    RuntimeError("inflate\nfailed"),
    SystemError("null argument"),
    AttributeError("'NoneType' object has no attribute 'x'"),
    ImportError("no module"),
    ValueError("of a library" + 4000 * "."),
    TypeError("of a library"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    pa.ArrowInvalid("Unexpected end of stream"),
    pa.ArrowKeyError("no field"),
    OSError(errno.EIO, "Input/output error"),
    SystemExit("of a library"),
    ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
    RustPanic("slice index"),
    StopIteration(),
]


@pytest.mark.parametrize("error", UNFORESEEN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("verbose", [False, True])
def test_every_error_is_one_sentence(speechtok, monkeypatch, error, verbose):
    def fail():
        raise error

    monkeypatch.setattr("speechtok.cli.tokenizers.list_tokenizers", fail)
    code, out, err = speechtok("tokenizers", *(["--verbose"] if verbose else []))
    *trace, sentence = err.splitlines()
    assert (code, out, bool(trace)) == (1, "", verbose)
    assert "\x1b" not in err
    assert sentence.startswith("speechtok: 'speechtok tokenizers")
    assert type(error).__name__ in sentence
    assert "--verbose shows the trace" in sentence
    assert len(sentence) < 600
    if verbose:
        assert any("in fail" in line for line in trace)


def test_an_error_of_the_system_names_the_file(speechtok, monkeypatch):
    def fail():
        raise PermissionError(errno.EACCES, "Permission denied", "/secret/file")

    monkeypatch.setattr("speechtok.cli.tokenizers.list_tokenizers", fail)
    assert speechtok("tokenizers") == (
        1,
        "",
        "speechtok: 'speechtok tokenizers' failed at /secret/file: Permission denied; --verbose shows the trace.\n",
    )


def test_only_what_speechtok_refuses_is_wrong_usage(speechtok, monkeypatch, tmp_path):
    (tmp_path / "wrong.yaml").write_text("name: x\n")
    assert speechtok("tokenizers", "dmel_16")[0] == 2
    assert speechtok("tokenizers", tmp_path / "none.yaml")[0] == 2
    code, _, err = speechtok("tokenizers", tmp_path / "wrong.yaml")
    assert (code, "wrong.yaml lacks the field" in err) == (1, True)
    assert speechtok("tokenize", tmp_path, tmp_path / "out", "--batch-seconds", "-1")[0] == 2
    for raised, code in (
        (lambda: int("x"), 1),
        (lambda: [].index(1), 1),
        (lambda: pa.scalar("x", pa.int8()), 1),
    ):
        monkeypatch.setattr("speechtok.cli.tokenizers.list_tokenizers", raised)
        assert speechtok("tokenizers")[0] == code


def test_damaged_data_are_no_wrong_usage(speechtok, monkeypatch):
    for kind in (CardError, DatasetError):

        def fail(kind=kind):
            raise kind("FILE is damaged.")

        monkeypatch.setattr("speechtok.cli.tokenizers.list_tokenizers", fail)
        assert speechtok("tokenizers") == (1, "", "speechtok: FILE is damaged.\n")


@pytest.mark.parametrize("command", ["tokenizers", "tokenize"])
def test_advice_after_ctrl_c(monkeypatch, capsys, command):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(main.cli, "invoke", stop)
    assert main.run([command, "x", "y"][: 1 + 2 * (command == "tokenize")]) == 130
    assert ("goes on from there" in capsys.readouterr().err) == (command == "tokenize")


def test_a_reader_that_leaves(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "tokenizers"], stdout=writing, stderr=subprocess.PIPE, timeout=120, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_pipe_that_breaks_inside_is_told(speechtok, monkeypatch):
    def fail():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("speechtok.cli.tokenizers.list_tokenizers", fail)
    code, _, err = speechtok("tokenizers")
    assert (code, "unforeseen BrokenPipeError" in err) == (1, True)


def test_recipes_are_listed(speechtok):
    code, out, _ = speechtok("run")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0
    assert "any folder of speech" in lines["folder_dmel"].lower()
    assert list(lines) == sorted(lines)
    code, _, err = speechtok("run", "--workers", 2)
    assert (code, "Give the RECIPE to run" in err) == (2, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("libri_facodec", "There is no recipe libri_facodec; did you mean 'librispeech_facodec'"),
        ("qqq", "There is no recipe qqq; there are common_voice_facodec, emilia_facodec"),
    ],
)
def test_unknown_recipes(speechtok, name, message):
    code, _, err = speechtok("run", name, "--corpus", ".", "--output", "x")
    assert (code, message in err) == (2, True)
