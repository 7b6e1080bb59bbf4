"""The documentation tells the truth: its code runs, its commands print what they show, no option is missing.

Every page is read as a list of fenced blocks, which are acted upon in order, in one folder per page:

- a block with a `title` is a file, and is written there;
- `python` blocks run in one namespace per page, `pycon` blocks are doctests in the same namespace;
- `console` blocks hold `$ command` lines, each followed by what it prints. Commands of speechtok run;
  numbers in their output may differ, a line `...` stands for any lines, and `; echo $?` shows the exit
  code. Commands whose output is not shown must end with exit code 0. `python examples/…` runs too;
- `python notest` and `console notest` blocks (network, hardware, other libraries) are only parsed.
"""

import contextlib
import doctest
import fnmatch
import importlib.util
import inspect
import io
import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile

from speechtok.cli import main
from speechtok.engine.executor import InThisProcess
from speechtok.storage import as_path
from speechtok.storage.stores import forget_stores
from tests.s3 import ENVIRONMENT, create_bucket

ROOT = Path(__file__).parents[1]
TOP_LEVEL = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES = [*TOP_LEVEL, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\S*)([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SLOW_COMMANDS = ("demo",)
"""Commands of speechtok that run only where a page shows what they print."""


@dataclass(frozen=True)
class Block:
    language: str
    options: str
    text: str
    line: int

    @property
    def title(self):
        found = re.search(r'title="([^"]+)"', self.options)
        return found[1] if found else None

    @property
    def runs(self):
        return "notest" not in self.options.split()


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        indent, language, options, body = match.groups()
        yield Block(
            language,
            options,
            inspect.cleandoc(body) if indent else body,
            text[: match.start()].count("\n") + 2,
        )


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def voice(seconds, sample_rate, pitch_hz):
    """Return a buzz with the pitch and the rhythm of speech."""
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    buzz = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 13))
    return 0.2 * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))


def prepare(folder):
    """Put the files that pages speak of into a folder."""
    (folder / "corpus" / "anna").mkdir(parents=True)
    soundfile.write(folder / "speech.wav", voice(2, 16000, 120), 16000)
    soundfile.write(folder / "interview.flac", np.stack([voice(1.5, 44100, 180)] * 2, 1), 44100)
    soundfile.write(folder / "corpus" / "anna" / "1.wav", voice(1.2, 16000, 210), 16000)
    soundfile.write(folder / "corpus" / "anna" / "2.flac", voice(1.7, 44100, 190), 44100)
    soundfile.write(folder / "corpus" / "bo.wav", voice(2.3, 22050, 110), 22050)
    (folder / "corpus" / "anna" / "3.wav").write_text("this is not audio\n")
    for name in ("pipelines", "examples"):
        (folder / name).symlink_to(ROOT / name)


def speechtok(arguments):
    """Run a command line in this process; return its exit code and all it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main.run(arguments)
    return code, printed.getvalue()


@pytest.fixture
def folder_of_pages(tmp_path, monkeypatch):
    """A folder with the prepared files, where jobs run in this process instead of on Ray."""
    import torch

    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("SPEECHTOK_CARDS", str(tmp_path / "tokenizers"))
    monkeypatch.setattr("speechtok.commands.tokenize.open_executor", lambda run, imports: InThisProcess())
    monkeypatch.setattr("speechtok.commands.annotate.open_executor", lambda run: InThisProcess())
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def _no_network():
    """`datasets` caches here, and neither it nor the Hub is asked for anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        yield


class Page:
    """Acts upon the blocks of one page, in order."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.names = {"__name__": "page"}

    def act(self, block):
        if block.title:
            self.write(block)
        elif block.language == "python":
            code = compile(block.text, f"<line {block.line}>", "exec", dont_inherit=True)
            if block.runs:
                exec(code, self.names)
        elif block.language == "pycon":
            self.doctest(block)
        elif block.language == "console":
            for command, output in commands_of(block):
                self.command(command, output, block.runs)

    def write(self, block):
        path = self.folder / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        if block.title == "speechtok/loading.py":  # the page shows the table of families with a line more
            names = {}
            exec(block.text, names)
            for family, place in names["FAMILIES"].items():
                self.monkeypatch.setitem(importlib.import_module("speechtok.loading").FAMILIES, family, place)
        elif block.title.startswith("speechtok/tokenizers/"):
            package = importlib.import_module("speechtok.tokenizers")
            folder = str(self.folder / "speechtok" / "tokenizers")
            self.monkeypatch.setattr(package, "__path__", [*package.__path__, folder])
        elif block.title.startswith("tests/"):
            self.run_tests(path)

    def run_tests(self, path):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        tests = [value for name, value in vars(module).items() if name.startswith("test_")]
        assert tests
        for number, test in enumerate(tests):
            folder = self.folder / f"test{number}"
            folder.mkdir()
            test(**({"tmp_path": folder} if "tmp_path" in inspect.signature(test).parameters else {}))

    def doctest(self, block):
        example = doctest.DocTestParser().get_doctest(block.text, self.names, "page", None, block.line)
        printed = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        result = runner.run(example, out=printed.write, clear_globs=False)
        self.names.update(example.globs)
        assert not result.failed, printed.getvalue()

    def command(self, command, output, runs):
        shows_code = command.endswith("; echo $?")
        words = shlex.split(command.removesuffix("; echo $?"), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, value = words.pop(0).split("=", 1)
            self.monkeypatch.setenv(name, value)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
        if words[0] == "python" and words[1].startswith("examples/") and runs:
            done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
            assert not output or same(done.stdout, output), f"`{command}` prints\n{done.stdout}"
        if words[0] != "speechtok":
            return
        check_parses(words[1:])
        if not runs or (words[1] in SLOW_COMMANDS and not output):
            return
        code, printed = speechtok(words[1:])
        if shows_code:
            printed += f"{code}\n"
        else:
            assert code == 0, printed
        if output:
            assert same(printed, output), f"`{command}` prints\n{printed}\nbut the page shows\n{output}"


def commands_of(block):
    """Yield the command lines of a console block, each with the output shown below it."""
    command, output = None, []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(output).strip()
            command, output = line.removeprefix("$ "), []
        elif command and command.endswith("\\"):
            command = command.removesuffix("\\") + line.strip()
        else:
            output.append(line)
    if command:
        yield command, "\n".join(output).strip()


def check_parses(words):
    """Let click read a command line without running it."""
    context = click.Context(main.cli, info_name="speechtok")
    if words[0].startswith("-"):
        return
    command = command_named(words[0])
    assert command is not None, f"there is no command speechtok {words[0]}"
    if isinstance(command, click.Group) and not words[1].startswith("-"):
        command, words = command_named(" ".join(words[:2])), words[1:]
        assert command is not None, f"there is no trainer {words[0]}"
    if "--help" in words:
        return
    with pytest.MonkeyPatch.context() as patch:
        for parameter in command.params:  # whether a path exists is another question
            if isinstance(parameter.type, click.Path):
                patch.setattr(parameter.type, "exists", False)
        parser = command.make_parser(click.Context(command, parent=context))
        parser.parse_args(list(words[1:]))


def same(printed, shown):
    """Return whether a command prints what is shown, numbers and machine paths aside."""
    lines = [mask(line) for line in printed.strip().splitlines()]
    pattern = "\n".join("*" if line.strip() == "..." else escape(mask(line)) for line in shown.splitlines())
    return fnmatch.fnmatchcase("\n".join(lines), pattern)


def mask(line):
    line = re.sub(r"\b[0-9a-f]{32,64}\b|(?<=commit )[0-9a-f]{12}", "#", line.rstrip())
    line = re.sub(r"http://127\.0\.0\.1:\d+", "https://huggingface.co", line)
    line = re.sub(r"/[^\s']*/(tokenizers|pipelines|corpus|speechtok/demo|demo-out)/", r"\1/", line)
    return re.sub(r" +", " ", re.sub(r"\d[\d.,]*\d|\d", "#", line))


def escape(line):
    return re.sub(r"([*?[])", r"[\1]", line)


def prepare_store(folder, s3_process, monkeypatch):
    """Put the corpus of the pages into the bucket they speak of."""
    for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": s3_process}).items():
        monkeypatch.setenv(name, value)
    forget_stores()
    create_bucket(s3_process, "speech")
    for file in sorted((folder / "corpus").rglob("*.*")):
        (as_path("s3://speech/corpus") / file.relative_to(folder / "corpus").as_posix()).put(file)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the Hub's client, of itself
def test_page(page, folder_of_pages, monkeypatch, request):
    if page.name == "hub.md":
        request.getfixturevalue("hub")
    if "s3://speech/" in page.read_text(encoding="utf-8"):
        prepare_store(folder_of_pages, request.getfixturevalue("s3_process"), monkeypatch)
        request.addfinalizer(forget_stores)
    monkeypatch.setattr("speechtok.cards.find.CARDS_VARIABLE", "SPEECHTOK_CARDS")
    actor = Page(folder_of_pages, monkeypatch)
    for block in blocks_of(page):
        try:
            actor.act(block)
        except Exception as error:
            raise AssertionError(f"{name_of(page)}, block at line {block.line}: {error}") from error


@pytest.mark.parametrize("page", TOP_LEVEL, ids=name_of)
def test_links_of_top_level_pages(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_laws_of_security_have_tests():
    named = re.findall(r"`(tests/[^`]+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) >= 10
    for path in named:
        assert (ROOT / path).exists(), path


def test_pages_have_blocks():
    assert sum(block.language == "python" for page in PAGES for block in blocks_of(page)) >= 10


@pytest.mark.ray
def test_quickstart_on_ray(tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, printed = speechtok(["tokenize", "corpus", "tokens", "--tokenizer", "dmel_16k"])
    assert code == 0, printed
    assert "3 utterances" in printed
    assert "1 in quarantine" in printed


def keys_of(value):
    """Return the names of all fields of a JSON value, those of nested objects below their own."""
    if isinstance(value, list):
        return keys_of(value[0]) if value else None
    return {name: keys_of(item) for name, item in value.items()} if isinstance(value, dict) else None


def check_keys(shown, real, place):
    """Fail unless shown and real objects have the same fields; a field `…` stands for all others."""
    if not isinstance(shown, dict) or not isinstance(real, dict):
        return
    assert set(shown) - {"…"} <= set(real), place
    assert "…" in shown or set(shown) == set(real), place
    for name in set(shown) - {"…"}:
        check_keys(shown[name], real[name], f"{place}.{name}")


def test_json_of_the_specification(folder_of_pages):
    import pyarrow.parquet as pq

    assert speechtok(["tokenize", "corpus", "tokens"])[0] == 0
    state = folder_of_pages / "tokens" / ".speechtok"
    records = [json.loads(text) for text in pq.read_table(state / "parts.parquet")["record"].to_pylist()]
    (shard, *_) = sorted((folder_of_pages / "tokens" / "data").glob("*.parquet"))
    real = [
        json.loads(pq.read_schema(shard).metadata[b"speechtok"]),
        json.loads((state / "plan.json").read_text()),
        next(record for record in records if record["splits"][0]["quarantined"]),
    ]
    page = ROOT / "docs" / "formats" / "token-dataset.md"
    shown = [json.loads(block.text) for block in blocks_of(page) if block.language == "json"]
    for number, (one, other) in enumerate(zip(shown, real, strict=True)):
        check_keys(keys_of(one), keys_of(other), f"block {number}")


def cli_sections():
    """Return the text of each command's section in docs/cli.md."""
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    parts = re.split(r"^##+ `speechtok (\w[\w -]*)`$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def command_named(name):
    """Return a command, or one of a group, such as "train kmeans"; None when there is none."""
    command = main.cli
    for word in name.split():
        command = command.get_command(click.Context(command), word)
    return command


def command_names():
    """Yield the name of every command; a group's is followed by those of its commands."""
    for name in main.COMMANDS:
        yield name
        if isinstance(group := command_named(name), click.Group):
            yield from (f"{name} {part}" for part in group.list_commands(click.Context(group)))


def test_every_command_is_documented():
    assert list(cli_sections()) == list(command_names())


@pytest.mark.parametrize("name", list(command_names()))
def test_every_option_is_documented(name):
    section = cli_sections()[name]
    rows = dict(re.findall(r"^\| `([^`]+)` \|(.*)\|$", section, flags=re.MULTILINE))
    documented = {row.split()[0] for row in rows if row.startswith("--")}
    command = command_named(name)
    options = {max(item.opts, key=len): item for item in command.params if isinstance(item, click.Option)}
    assert documented - {"--help"} == set(options)
    for option, item in options.items():
        (row,) = [text for key, text in rows.items() if key.split()[0] == option]
        if isinstance(item.default, str | int | float) and not item.is_flag and not item.multiple:
            assert (
                f"`{item.default:g}`" in row
                if isinstance(item.default, float)
                else f"`{item.default}`" in row
            )
        if isinstance(item.type, click.Choice):
            assert all(f"`{choice}`" in row for choice in item.type.choices), f"{name} {option}"
    for item in command.params:
        if isinstance(item, click.Argument):
            assert f"`{item.name.upper()}" in section


def test_every_card_and_recipe_field_is_documented():
    from dataclasses import fields

    from speechtok.cards import CardFile, RaySection, Recipe, TokenizerCard
    from speechtok.tokens import StreamInfo

    for kinds, page in [
        ((TokenizerCard, CardFile, StreamInfo), "tokenizers"),
        ((Recipe, RaySection), "pipelines"),
    ]:
        text = (ROOT / page / "README.md").read_text(encoding="utf-8")
        for kind in kinds:
            for item in fields(kind):
                assert f"| `{item.name}` |" in text, f"{page}/README.md says nothing of {item.name}"


def test_every_public_name_has_an_api_page():
    import speechtok as package

    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    for name in package.__all__:
        if not name.startswith("_"):
            assert re.search(rf"^::: speechtok\.[\w.]*\b{name}$", pages, re.MULTILINE), name
