"""A dataset goes to the Hub and comes back; a damaged one does not go. A real client talks to a Hub on this machine."""

import base64
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
import yaml

from speechtok import TokenDataset, load_tokenizer
from speechtok.cli import main
from speechtok.commands.tokenize import retry_quarantined, tokenize_corpus
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError, HubError, StorageError
from speechtok.hub import faults
from speechtok.publish.card import PLOT, size_category
from speechtok.publish.dataset import absolute_recordings, pull_dataset, push_dataset
from speechtok.shards.layout import Layout
from speechtok.shards.manifest import read_manifest
from tests.local_hub import regular
from tests.waiting import wait_until

NAME = "anna/tokens"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
"""The client's own way to send bytes."""


def files_of(hub, name=NAME, kind="dataset", revision="main"):
    repo = hub.repos[kind, name]
    return repo.commits[repo.resolve(revision)]["files"]


def text_of(hub, path, **options):
    return files_of(hub, **options)[path]["data"].decode()


def sent(hub):
    """How often each object was sent."""
    puts = [item["path"] for item in hub.requests if item["method"] == "PUT" and item["status"] == 200]
    return {path: puts.count(path) for path in puts}


def fetched(hub):
    """How often each file was fetched."""
    gets = [item["path"] for item in hub.requests if item["method"] == "GET" and item["status"] in (200, 206)]
    paths = [path.split("/", 6)[-1] for path in gets if path.startswith(f"/datasets/{NAME}/resolve/")]
    return {path: paths.count(path) for path in paths}


def commits(hub, name=NAME):
    return len(hub.repos["dataset", name].commits) - 1  # without the one that made the repository


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


# --- there and back ---


def test_push_and_pull(hub, made, tmp_path):
    pushed = push_dataset(made, NAME, tag="v1", licence="cc-by-4.0", citation="A. Nna 2026")
    assert pushed.private
    assert commits(hub) == 1
    assert pushed.sent == len(files_of(hub)) - 1  # .gitattributes
    assert pull_dataset(NAME, tmp_path / "back", revision="v1").problems == ()
    for path in sorted(made.rglob("*")):
        relative = path.relative_to(made)
        back = tmp_path / "back" / relative
        if relative.name in ("job.json", "events.jsonl", "lock"):
            assert not back.exists()
        elif path.is_file() and relative.name != "README.md":
            assert back.read_bytes() == path.read_bytes(), relative


def test_tokens_and_waveforms_are_those_of_the_source(hub, made):
    push_dataset(made, NAME)
    load_tokenizer("dmel_16k").push_to_hub("anna/tokenizer")
    ours, theirs = TokenDataset(made), TokenDataset(NAME)
    assert len(ours) == len(theirs) == 7
    tokenizer = load_tokenizer("anna/tokenizer")
    assert tokenizer.fingerprint == theirs.info.fingerprint
    every = range(len(ours))
    assert theirs.tokens(every).equals(ours.tokens(every))
    assert tokenizer.decode(theirs.tokens(every)).equal(load_tokenizer("dmel_16k").decode(ours.tokens(every)))
    batches = list(TokenDataset(NAME, split="dev").stream(batch_size=4))
    assert [batch["id"] for batch in batches] == [["dev/a.wav"]]


def test_nothing_of_this_machine_is_sent(hub, made):
    push_dataset(made, NAME)
    assert not {path for path in files_of(hub) if path.endswith(("job.json", "events.jsonl", "lock"))}
    for entry in files_of(hub).values():
        content = entry["data"] or hub.objects[entry["lfs"]]
        assert str(made.parent).encode() not in content


def test_pushing_again_sends_nothing(hub, made):
    first = push_dataset(made, NAME)
    before = len(hub.requests)
    again = push_dataset(made, NAME)
    assert (again.sent, again.removed, again.commit) == (0, 0, first.commit)
    assert commits(hub) == 1
    assert not any(item["method"] == "PUT" for item in hub.requests[before:])


def test_what_is_gone_here_is_removed_there(hub, made, copy):
    push_dataset(made, NAME)
    hub_files = set(files_of(hub))
    api(hub).upload_file(
        path_or_fileobj=b"x", path_in_repo="data/old.parquet", repo_id=NAME, repo_type="dataset"
    )
    api(hub).upload_file(path_or_fileobj=b"x", path_in_repo="notes.txt", repo_id=NAME, repo_type="dataset")
    assert push_dataset(copy, NAME).removed == 1
    assert set(files_of(hub)) == hub_files | {"notes.txt"}


def api(hub):
    from huggingface_hub import HfApi

    return HfApi()


def test_branches_tags_and_visibility(hub, made):
    first = push_dataset(made, NAME, private=False, tag="v1")
    assert not first.private
    second = push_dataset(made, NAME, revision="trial", private=True, licence="mit", tag="v1")
    assert second.private
    repo = hub.repos["dataset", NAME]
    assert repo.branches["trial"] == repo.tags["v1"] == second.commit
    assert repo.branches["main"] == first.commit
    assert push_dataset(made, NAME).private  # an old repository stays what it is
    assert len(TokenDataset(NAME, revision="v1")) == 7


def test_datasets_reads_it_from_the_hub(hub, made, run_python):
    pytest.importorskip("datasets")
    push_dataset(made, NAME, licence="cc-by-4.0")
    script = (
        "import datasets\n"
        f"rows = datasets.load_dataset({NAME!r})\n"
        "print({name: len(part) for name, part in rows.items()}, rows['train'].features['mel'])\n"
        f"print(len(datasets.load_dataset({NAME!r}, name='quarantine', split='train')))\n"
        f"rows = datasets.load_dataset({NAME!r}, split='dev', streaming=True)\n"
        "print(*[row['id'] for row in rows])\n"  # all: a reader left open may abort Python at its end
    )
    printed = run_python(f"import sys; sys.stderr = sys.stdout\n{script}")
    assert "Ignoring" not in printed
    assert "{'train': 6, 'dev': 1}" in printed or "{'dev': 1, 'train': 6}" in printed
    assert "uint16" in printed
    assert printed.splitlines()[-2:] == ["1", "dev/a.wav"]


# --- the card ---


def test_card(hub, made):
    push_dataset(made, NAME, licence="cc-by-4.0", citation="A. Nna, Voices, 2026")
    text = text_of(hub, "README.md")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "cc-by-4.0"
    assert head["language"] == ["en"]
    assert head["task_categories"] == ["text-to-speech", "automatic-speech-recognition"]
    assert head["size_categories"] == ["n<1K"]
    assert [item["config_name"] for item in head["configs"]] == ["default", "quarantine"]
    (default, quarantine) = head["dataset_info"]
    assert {item["name"]: item["num_examples"] for item in default["splits"]} == {"train": 6, "dev": 1}
    assert {item["name"]: item["num_examples"] for item in quarantine["splits"]} == {"train": 1}
    info = TokenDataset(made).info
    for part in (
        f"fingerprint `{info.fingerprint}`",
        "arXiv:2407.15835",
        "A. Nna, Voices, 2026",
        "licence: cc-by-4.0",
        "7 utterances",
        "speakers: 2",
        "languages: en (7)",
        "text: 6 of 7 utterances",
        "| `train` | 6 | 3.9 s |",
        "lengths: 0.4 s to 0.9 s, half of them up to 0.6 s",
        "| `num_samples` | `int64` | samples at 16000 Hz |",
        "## Tokenizer card\n\n```yaml\nname: dmel_16k\n",
        f"]({PLOT})",
        f'TokenDataset("{NAME}", split="train")',
        f'load_dataset("{NAME}", split="train")',
        "load_tokenizer",
    ):
        assert part in text, part
    assert files_of(hub)[PLOT]["data"].startswith(b"\x89PNG")


def test_the_code_of_the_card_runs(hub, made, run_python):
    """What it shows reads, decodes and trains on the dataset that was pushed."""
    pytest.importorskip("datasets")
    push_dataset(made, NAME)
    blocks = re.findall(r"^```python\n(.*?)^```$", text_of(hub, "README.md"), flags=re.DOTALL | re.MULTILINE)
    script = (
        "".join(blocks) + "print(waveform.shape[1], dataset[0]['num_samples'], codes.shape[1], len(rows))\n"
    )
    samples, expected, codebooks, rows = run_python(script).split()[-4:]
    assert (samples, codebooks, rows) == (expected, "80", "6")


def test_languages_as_the_hub_takes_them(hub, tmp_path, write_corpus):
    labels = ("en-US", "en_GB", "DE", "Klingon", "")
    corpus = write_corpus(tmp_path / "corpus", {f"{n}.wav": 0.3 for n in range(len(labels))})
    lines = ["audio\tlanguage", *(f"{n}.wav\t{label}" for n, label in enumerate(labels))]
    (corpus / "list.tsv").write_text("\n".join(lines) + "\n")
    tokenize_corpus(corpus / "list.tsv", tmp_path / "out", tokenizer="dmel_16k", run=RunSettings(workers=1))
    push_dataset(tmp_path / "out", NAME)
    text = text_of(hub, "README.md")
    head = yaml.safe_load(text.split("---\n")[1])
    assert sorted(head["language"]) == ["de", "en"]
    assert sorted(head["language_bcp47"]) == ["en-GB", "en-US"]
    assert "Klingon (1)" in text
    assert "- text: none" in text
    assert head["task_categories"] == ["audio-to-audio"]


def test_features_of_the_card_are_those_of_the_files(hub, made):
    datasets = pytest.importorskip("datasets")
    import pyarrow.parquet as pq

    push_dataset(made, NAME)
    head = yaml.safe_load(text_of(hub, "README.md").split("---\n")[1])
    stated = datasets.Features._from_yaml_list(head["dataset_info"][0]["features"])
    shard = next((made / "data").glob("*.parquet"))
    assert stated == datasets.Features.from_arrow_schema(pq.read_schema(shard))


def test_sizes_of_the_card_are_those_of_the_rows(hub, made):
    datasets = pytest.importorskip("datasets")
    push_dataset(made, NAME)
    head = yaml.safe_load(text_of(hub, "README.md").split("---\n")[1])
    for item, files in zip(head["dataset_info"], ("data/*.parquet", "quarantine/*.parquet"), strict=True):
        splits = datasets.SplitDict._from_yaml_list(item["splits"])
        assert item["dataset_size"] == sum(split.num_bytes for split in splits.values()) > 0
        assert item["download_size"] == sum(path.stat().st_size for path in made.glob(files))


def test_licence_and_citation_stay_until_others_are_given(hub, made, tmp_path):
    push_dataset(made, NAME, licence="cc-by-4.0", citation="A. Nna,\nVoices, 2026")
    assert push_dataset(made, NAME).sent == 0
    pull_dataset(NAME, tmp_path / "back")
    push_dataset(tmp_path / "back", "anna/other")  # a new repository: what the copy says
    for name in (NAME, "anna/other"):
        text = text_of(hub, "README.md", name=name)
        assert yaml.safe_load(text.split("---\n")[1])["license"] == "cc-by-4.0"
        assert text.endswith("- licence: cc-by-4.0\n- cite: A. Nna,\nVoices, 2026\n")
        assert f'TokenDataset("{name}", split="train")' in text
    push_dataset(made, NAME, licence="mit", citation="B. Ob", revision="trial")
    text = text_of(hub, "README.md", revision="trial")
    assert text.endswith("- licence: mit\n- cite: B. Ob\n")
    assert push_dataset(made, NAME, revision="new").sent == 0  # a branch begins as the main one
    assert "Voices, 2026" in text_of(hub, "README.md", revision="new")


def test_what_people_added_to_the_card_stays(hub, made):
    push_dataset(made, NAME)
    text = text_of(hub, "README.md").replace("tags:\n", "thumbnail: x.png\ntags:\n- read-speech\n")
    text += "\n## Consent\n\nAll speakers agreed.\n"
    api(hub).upload_file(
        path_or_fileobj=text.encode(), path_in_repo="README.md", repo_id=NAME, repo_type="dataset"
    )
    push_dataset(made, NAME)
    text = text_of(hub, "README.md")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["thumbnail"] == "x.png"
    assert {"read-speech", "speechtok"} <= set(head["tags"])
    assert text.endswith("## Consent\n\nAll speakers agreed.\n")
    assert push_dataset(made, NAME).sent == 0


def test_a_pulled_copy_keeps_its_card(hub, made, tmp_path, write_corpus):
    """Tokenizing again leaves it alone; when rows are added, what it says of them is taken out."""
    datasets = pytest.importorskip("datasets")
    corpus, back = shutil.copytree(made.parent / "corpus", tmp_path / "corpus"), tmp_path / "back"
    push_dataset(made, NAME, licence="cc-by-4.0", citation="A. Nna")
    pull_dataset(NAME, back)
    card = (back / "README.md").read_text()
    settings = JobSettings(shard_seconds=1.5, file_mb=1e-6)
    again = tokenize_corpus(corpus / "corpus.tsv", back, settings=settings, run=RunSettings(workers=1))
    assert again.shards_made == 0
    assert (back / "README.md").read_text() == card
    write_corpus(corpus, {"train/bad.wav": 0.5})
    assert retry_quarantined(back, corpus_root=corpus, run=RunSettings(workers=1)).quarantined == 0
    text = (back / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert "8 utterances" in text
    assert "## Statistics" not in text
    assert not {"dataset_info", "size_categories"} & set(head)
    assert head["license"] == "cc-by-4.0"
    assert text.endswith("- cite: A. Nna\n")
    rows = datasets.load_dataset(str(back), cache_dir=str(tmp_path / "cache"))
    assert sum(len(part) for part in rows.values()) == 8
    push_dataset(back, NAME)
    text = text_of(hub, "README.md")
    assert "| `dev` | 1 |" in text
    assert "| `train` | 7 |" in text
    assert text.endswith("- licence: cc-by-4.0\n- cite: A. Nna\n")


@pytest.mark.parametrize(
    ("rows", "name"), [(999, "n<1K"), (1000, "1K<n<10K"), (10**8, "100M<n<1B"), (10**9, "n>1B")]
)
def test_size_categories(rows, name):
    assert size_category(rows) == name


# --- what does not go ---


@pytest.mark.parametrize("damage", ["flip", "missing", "unfinished"])
def test_damaged_datasets_are_refused(hub, copy, damage):
    shard = sorted((copy / "data").iterdir())[0]
    if damage == "flip":
        content = bytearray(shard.read_bytes())
        content[100] ^= 1
        shard.write_bytes(content)
    elif damage == "missing":
        shard.unlink()
    else:
        (copy / "manifest.parquet").unlink()
    with pytest.raises(
        DatasetError,
        match=r"copy is damaged or unfinished \(\d problems?, the first: (data/|4 of them, from dev-).*\); nothing was sent",
    ):
        push_dataset(copy, NAME)
    assert not hub.requests


def test_a_licence_that_the_hub_does_not_know(hub, made):
    """It is refused before anything is sent."""
    with pytest.raises(
        HubError,
        match=r"could not be pushed: the Hub does not accept what its README.md states: .*\"license\" must be one of",
    ):
        push_dataset(made, NAME, licence="my own")
    assert [item["method"] for item in hub.requests] == [
        "GET",
        "POST",
    ]  # for the old card, and to check this one


def test_no_dataset(hub, tmp_path):
    with pytest.raises(DatasetError, match="is no token dataset made by `speechtok tokenize`"):
        push_dataset(tmp_path, NAME)


def test_absolute_recordings(made, tmp_path, write_corpus):
    assert absolute_recordings(made) == 0
    corpus = write_corpus(tmp_path / "corpus", {"a.wav": 0.5})
    (tmp_path / "wav.scp").write_text(f"a {corpus / 'a.wav'}\n")
    tokenize_corpus(tmp_path / "wav.scp", tmp_path / "out", run=RunSettings(workers=1))
    assert absolute_recordings(tmp_path / "out") == 1


@pytest.mark.parametrize(
    "name", ["../out.txt", "data/../../out.txt", "/out.txt", "C:/out.txt", "a\\..\\out.txt", "a\x1bb"]
)
def test_names_of_a_repository_stay_in_the_folder(hub, tmp_path, name):
    """All names are looked at before the first file is fetched."""
    api(hub).create_repo(NAME, repo_type="dataset")
    hub.repos["dataset", NAME].commit("main", {"a.txt": regular(b"good"), name: regular(b"bad")}, "hostile")
    with pytest.raises(StorageError, match="only plain paths below it are taken") as caught:
        pull_dataset(NAME, tmp_path / "deep" / "back")
    assert str(caught.value).isprintable()
    assert not list((tmp_path / "deep").rglob("*.txt"))


@pytest.mark.parametrize("link", ["data", "data/a.parquet", ".cache", ".cache/huggingface/download/data"])
def test_a_pull_follows_no_link_out_of_the_folder(hub, tmp_path, link):
    api(hub).create_repo(NAME, repo_type="dataset")
    hub.repos["dataset", NAME].commit("main", {"data/a.parquet": regular(b"new")}, "a file")
    back, outside = tmp_path / "back", tmp_path / "outside"
    outside.mkdir()
    (outside / "a.parquet").write_bytes(b"mine")
    (back / link).parent.mkdir(parents=True)
    (back / link).symlink_to(outside / "a.parquet" if link.endswith(".parquet") else outside)
    with pytest.raises(StorageError, match="through a link that leads out of"):
        pull_dataset(NAME, back)
    assert [(path.name, path.read_bytes()) for path in outside.iterdir()] == [("a.parquet", b"mine")]


@pytest.mark.parametrize(
    ("folder", "told"), [("a\0b", "A path cannot hold a NUL"), ("s3://a/b", "lies in an object store")]
)
def test_folders_that_cannot_be(hub, folder, told):
    with pytest.raises(ValueError, match=told):
        pull_dataset(NAME, folder)
    with pytest.raises(ValueError, match=told):
        push_dataset(folder, NAME)


def test_pulled_damage_is_named(hub, made, tmp_path):
    push_dataset(made, NAME)
    path = next(path for path in files_of(hub) if path.startswith("data/"))
    oid = files_of(hub)[path]["lfs"]
    hub.objects[oid] = hub.objects[oid][:-1] + b"x"
    with pytest.raises(
        DatasetError, match=r"back is damaged or unfinished .* remove what is named and pull again"
    ):
        pull_dataset(NAME, tmp_path / "back")


# --- faults ---


@pytest.mark.parametrize(
    "where", ["/api/repos/create", "/tree/", "/preupload/", "/objects/batch", "/commit/"]
)
def test_faults_that_pass(hub, made, where):
    hub.fail_next[where] = [429, 503]
    push_dataset(made, NAME)
    assert not hub.fail_next[where]
    assert commits(hub) == 1


@pytest.mark.parametrize("where", ["/preupload/", "/_lfs/", "/commit/"])
def test_cut_connections(hub, made, where, tmp_path):
    hub.cut_next[where] = 1
    push_dataset(made, NAME)
    assert hub.cut_next[where] == 0
    hub.cut_next["/resolve/"] = 1
    assert pull_dataset(NAME, tmp_path / "back").problems == ()


def test_faults_that_stay(hub, made):
    hub.fail_next["/commit/"] = [503] * 50
    with pytest.raises(
        HubError,
        match=r"^Dataset 'anna/tokens' could not be pushed: the Hub did not answer properly in 3 tries \(status 503\)\. "
        r"What was transferred is kept; run the same command again later\.$",
    ):
        push_dataset(made, NAME)
    hub.fail_next.clear()
    before = sent(hub)
    push_dataset(made, NAME)  # nothing was lost, and no object goes twice
    assert sent(hub) == before
    assert max(before.values()) == 1


def test_faults_of_a_pull_that_stay(hub, made, tmp_path):
    push_dataset(made, NAME)
    path = next(path for path in files_of(hub) if path.startswith("data/"))
    hub.fail_next[f"/{path}"] = [503] * 500
    with pytest.raises(
        HubError,
        match=r"^Dataset 'anna/tokens' could not be pulled: the Hub did not answer properly in 3 tries \(status 503\)\. "
        r"What was transferred is kept; run the same command again later\.$",
    ):
        pull_dataset(NAME, tmp_path / "back")
    hub.fail_next.clear()
    there = {item for item in files_of(hub) if (tmp_path / "back" / item).exists()}
    before = fetched(hub)
    assert pull_dataset(NAME, tmp_path / "back").problems == ()
    assert there
    assert {item for item, count in fetched(hub).items() if count != before.get(item)}.isdisjoint(there)


@pytest.fixture
def other_token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expiredexpiredexpired")
    return "hf_expiredexpiredexpired"


def test_expired_token(hub, made, other_token):
    with pytest.raises(
        HubError, match=r"does not accept the access token \(status 401\); it may have expired: log in"
    ) as found:
        push_dataset(made, NAME)
    assert other_token not in str(found.value)


def test_no_token(hub, made, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=r"access token.*log in with `hf auth login`, or set HF_TOKEN"):
        push_dataset(made, NAME)


def test_foreign_namespace(hub, made):
    with pytest.raises(
        HubError, match=r"'bob/tokens' could not be pushed: the access token does not allow it \(status 403\)"
    ):
        push_dataset(made, "bob/tokens")


@pytest.mark.parametrize("name", ["anna/tokens/too", "anna/-x-", "anna/a..b"])
def test_no_name_of_a_repository(hub, made, name):
    with pytest.raises(HubError, match="could not be pushed: a repository is called user/name"):
        push_dataset(made, name)


def test_wrong_repository(hub, tmp_path):
    with pytest.raises(
        HubError, match="'anna/nothing' could not be pulled: there is no such repository, or this access"
    ):
        pull_dataset("anna/nothing", tmp_path / "x")
    with pytest.raises(
        HubError, match=r"'anna/nothing' is no local token dataset, and none on the Hub: .*no such repository"
    ):
        TokenDataset("anna/nothing")


def test_wrong_revision(hub, made, tmp_path):
    push_dataset(made, NAME)
    with pytest.raises(HubError, match="it has no such revision; name a branch, a tag or a commit"):
        pull_dataset(NAME, tmp_path / "x", revision="v9")


def test_private_datasets_need_the_token(hub, made, other_token, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", hub.token)
    push_dataset(made, NAME)
    monkeypatch.setenv("HF_TOKEN", other_token)
    with pytest.raises(HubError, match="this access token may not see it"):
        pull_dataset(NAME, tmp_path / "x")


def test_offline(hub, tmp_path, monkeypatch, run_python):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    script = (
        "import sys; from speechtok.cli.main import run\n"
        "sys.stderr = sys.stdout; run(['pull', 'anna/tokens', sys.argv[1]])"
    )
    assert "told to stay offline; unset HF_HUB_OFFLINE" in run_python(script, tmp_path / "x")


def test_no_hub_there(hub, made, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"did not answer properly in 3 tries \(Connect"):
        push_dataset(made, NAME)


def test_tokens_are_taken_out_of_messages(hub):
    def fail():
        raise ValueError(f"it broke with {hub.token}")

    with pytest.raises(HubError, match=r"^It: it broke with \$HF_TOKEN\.$") as found:
        faults.call(fail, "It")
    assert found.value.__cause__ is None


ECHOES = {
    "whole": lambda token: token,
    "cut": lambda token: token[:14],
    "the end": lambda token: token[-14:],
    "spaced": " ".join,
    "masked": lambda token: f"{token[:12]}****{token[-10:]}",
    "percent": lambda token: "".join(f"%{byte:02x}" for byte in token.encode()),
    "base64": lambda token: base64.b64encode(f"anna:{token}".encode()).decode(),
    "hexadecimal": lambda token: token.encode().hex(),
    "upper case": str.upper,
}


@pytest.mark.parametrize("where", ["variable", "file"])
def test_a_server_that_echoes_the_token(hub, tmp_path, monkeypatch, capsys, caplog, where):
    """Not even the trace of --verbose tells it, however the server spells it."""
    if where == "file":
        monkeypatch.delenv("HF_TOKEN")
        (tmp_path / "hub-home").mkdir()
        (tmp_path / "hub-home" / "token").write_text(f"{hub.token}\n")
    for echo in ECHOES.values():
        hub.echo = echo
        assert main.run(["pull", NAME, str(tmp_path / "back"), "--verbose"]) == 1
        assert main.run(["check", "anna/tokenizer", "--verbose"]) in (1, 2)
        said = capsys.readouterr()
        text = said.out + said.err + caplog.text
        assert "Your token" in said.err, said.err
        for spelled in (echo(hub.token), hub.token):
            assert not [
                at for at in range(len(spelled) - 9) if spelled[at : at + 10] in text.replace("%", "")
            ], text


# --- the command line, and processes that die ---


def test_commands(hub, made, tmp_path, capsys, monkeypatch):
    assert main.run(["push", str(made), NAME, "--public", "--tag", "v1"]) == 0
    assert re.search(
        r"datasets/anna/tokens \(public\) is at commit \w{12}: \d+ files sent, 0 removed\.\n",
        capsys.readouterr().out,
    )
    assert main.run(["push", str(made), NAME]) == 0
    assert "0 files sent, 0 removed; it held everything already." in capsys.readouterr().out
    assert main.run(["pull", NAME, str(tmp_path / "back")]) == 0
    assert re.search(r"back is intact: \d shards, 7 utterances", capsys.readouterr().out)
    monkeypatch.setenv("HF_TOKEN", "hf_expiredexpiredexpired")
    assert main.run(["push", str(made), "anna/other", "--verbose"]) == 1
    printed = capsys.readouterr().err
    assert (
        "speechtok: Dataset 'anna/other' could not be pushed: the Hub does not accept the access token"
        in printed
    )
    assert "hf_expired" not in printed


def test_no_token_in_any_file(hub, made, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("DEBUG"):
        push_dataset(made, NAME)
        pull_dataset(NAME, tmp_path / "back")
    assert hub.token not in caplog.text
    for path in [*tmp_path.rglob("*"), *made.rglob("*")]:
        assert not path.is_file() or hub.token.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_killed_three_times(hub, made):
    """kill -9 in the middle of the transfer; what was sent whole is not sent again, and one commit holds all."""
    hub.slow_seconds["/_lfs/"] = 0.15
    script = (
        "import sys; from speechtok.hub import upload; upload.FILES_AT_ONCE = 1\n"
        "from speechtok.publish.dataset import push_dataset; push_dataset(sys.argv[1], sys.argv[2])"
    )
    command = [sys.executable, "-c", script, str(made), NAME]
    for number in range(1, 4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: len(hub.objects) >= number, alive=process)  # noqa: B023
        process.kill()
        assert process.wait(timeout=60) == -9
    time.sleep(0.5)  # let the server finish with what it has
    assert ("dataset", NAME) not in hub.repos or commits(hub) == 0
    kept = sent(hub)
    subprocess.run(command, check=True, timeout=300)
    assert len(kept) >= 3
    assert all(count == 1 for path, count in sent(hub).items() if path in kept)
    assert commits(hub) == 1
    assert TokenDataset(NAME).tokens(0).equals(TokenDataset(made).tokens(0))


@pytest.mark.slow
def test_pull_killed_three_times(hub, made, tmp_path):
    """kill -9 between the files, which come one after another; those that were done with are not fetched again."""
    push_dataset(made, NAME)
    hub.slow_seconds["/resolve/"] = 0.1
    back = tmp_path / "back"
    script = (
        "import functools, sys, huggingface_hub as hub\n"
        "hub.snapshot_download = functools.partial(hub.snapshot_download, max_workers=1)\n"
        "from speechtok.publish.dataset import pull_dataset; pull_dataset(sys.argv[1], sys.argv[2])"
    )
    command = [sys.executable, "-c", script, NAME, str(back)]

    def there():
        return {path for path in files_of(hub) if (back / path).exists()}

    done = set()
    for _ in range(3):
        before = there()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: len(there() - before) >= 2, alive=process)  # noqa: B023
        process.kill()
        assert process.wait(timeout=60) == -9
        came = sorted(there() - before, key=lambda path: (back / path).stat().st_mtime_ns)
        done |= set(came[:-1])  # the last may lack the client's note that it is whole
    assert len(done) >= 3
    subprocess.run(command, check=True, timeout=300)
    assert {path: fetched(hub)[path] for path in done} == dict.fromkeys(done, 1)
    assert TokenDataset(back).tokens(0).equals(TokenDataset(made).tokens(0))


@pytest.mark.slow
def test_with_xet(hub, made, tmp_path):
    """Large files go through Xet and come back through it; the commit names their sha256 just the same."""
    hf_xet = pytest.importorskip("hf_xet")
    store, back = tmp_path / "xet", tmp_path / "back"
    store.mkdir()
    hub.cas_url = f"local://{store}"
    script = "import sys; from speechtok.publish import dataset\ngetattr(dataset, sys.argv[1])(*sys.argv[2:])"
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "0"}

    def run(*arguments):
        command = [sys.executable, "-c", script, *map(str, arguments)]
        subprocess.run(command, check=True, timeout=300, env=environment)

    run("push_dataset", made, NAME)
    shards = {path: entry["lfs"] for path, entry in files_of(hub).items() if path.startswith("data/")}
    assert shards == {item.file: item.sha256 for item in read_manifest(Layout(made))}
    assert any(path.is_file() for path in store.rglob("*"))
    assert not hub.objects
    assert not sent(hub)
    large = {path: entry["lfs"] for path, entry in files_of(hub).items() if entry["lfs"]}
    hashes = hf_xet.hash_files([str(made / path) for path in large])
    hub.xet_hashes = {sha: item.hash for sha, item in zip(large.values(), hashes, strict=True)}
    run("pull_dataset", NAME, back)
    assert fetched(hub).keys().isdisjoint(large)
    for path in large:
        assert (back / path).read_bytes() == (made / path).read_bytes()
