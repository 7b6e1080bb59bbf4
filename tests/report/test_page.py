import base64
import io
import json
import re
import shutil
import subprocess
import wave

import pyarrow.parquet as pq
import pytest

from speechtok.commands.annotate import annotate_dataset
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.demo.demonstration import CORPUS
from speechtok.engine.settings import RunSettings
from speechtok.errors import DatasetError
from speechtok.report.page import write_report

HOSTILE = "<script>alert(1)</script>\"' & <img src=x onerror=alert(2)> {{ 7 * 7 }}"


def test_the_page_is_whole_and_asks_for_nothing(dataset, tmp_path, read_page):
    write_report(dataset, tmp_path / "new/report.html", corpus_root=CORPUS.parent)
    page = read_page(tmp_path / "new/report.html")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
    assert not page.all("script")
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "srcset", "data"):
                assert value.startswith(("data:", "#")), (tag, name, value[:80])
            assert "url(http" not in (value or "")
    source = (tmp_path / "new/report.html").read_text()
    assert not re.findall(r"url\((?!#)|@import|https?://(?!www\.w3\.org)", source)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {attributes.get("aria-labelledby") for attributes in page.all("section")}
    targets = {attributes["href"] for attributes in page.all("a")}
    assert labels | {target[1:] for target in targets} <= set(ids)


def test_the_page_says_what_the_dataset_holds(dataset, tmp_path, read_page):
    write_report(dataset, tmp_path / "report.html", corpus_root=CORPUS.parent)
    page = read_page(tmp_path / "report.html")
    for said in (
        "dmel_16k",
        "44.2 s",
        "12 utterances",
        "16 kbit/s",
        "en-us/finn-2.flac",
        "cut or damaged",
        "maud",
    ):
        assert said in page.text
    fingerprint = json.loads((dataset / ".speechtok/plan.json").read_text())["settings"]["tokenizer"][
        "fingerprint"
    ]
    assert fingerprint in page.text
    assert len(page.all("h1")) == 1
    assert all("scope" in head for head in page.all("th"))
    pictures = page.all("svg")
    assert len(pictures) == 8 + 3
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in pictures)


def test_originals_and_reconstructions_play(dataset, tmp_path, read_page):
    write_report(dataset, tmp_path / "report.html", corpus_root=CORPUS.parent, examples=2)
    players = read_page(tmp_path / "report.html").all("audio")
    assert [player["aria-label"].split()[0] for player in players] == ["Original", "Reconstruction"] * 2
    lengths = []
    for player in players:
        assert "controls" in player
        kind, content = player["src"].split(",", 1)
        assert kind == "data:audio/wav;base64"
        with wave.open(io.BytesIO(base64.b64decode(content))) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
            lengths.append(file.getnframes())
    assert lengths[0] == lengths[1]
    assert lengths[2] == lengths[3] > lengths[0]


def test_the_same_dataset_gives_the_same_page(dataset, tmp_path):
    for name in ("one", "two"):
        write_report(dataset, tmp_path / name, examples=1)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_reconstruction_stands_alone_when_the_original_is_gone(dataset, tmp_path, read_page):
    write_report(dataset, tmp_path / "report.html", corpus_root=tmp_path, examples=1)
    page = read_page(tmp_path / "report.html")
    assert [player["aria-label"].split()[0] for player in page.all("audio")] == ["Reconstruction"]
    assert "not where it was when the dataset was made" in page.text


def test_a_lone_file_has_no_quarantine_and_no_originals(dataset, tmp_path, read_page):
    (file,) = (dataset / "data").glob("*.parquet")
    shutil.copy(file, tmp_path / "some.parquet")
    write_report(tmp_path / "some.parquet", tmp_path / "report.html", examples=1)
    page = read_page(tmp_path / "report.html")
    assert "nothing is known of inputs that failed" in page.text
    assert "Recordings are opened only below a folder that you name" in page.text
    assert "By split" not in page.text
    assert "By speaker" in page.text
    write_report(tmp_path / "some.parquet", tmp_path / "report.html", corpus_root=CORPUS.parent, examples=1)
    assert len(read_page(tmp_path / "report.html").all("audio")) == 2


def test_what_a_dataset_says_is_text(tmp_path, read_page):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    shutil.copy(CORPUS.parent / "en-us/ada-1.flac", corpus)
    (corpus / "bad.wav").write_bytes(b"no audio")
    rows = [
        {"audio": "ada-1.flac", "id": HOSTILE, "text": HOSTILE, "speaker": HOSTILE, "language": HOSTILE},
        {"audio": "bad.wav", "id": HOSTILE + "2"},
    ]
    (corpus / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tokenize_corpus(corpus / "all.jsonl", tmp_path / "<b>tokens", run=RunSettings(workers=1))
    write_report(tmp_path / "<b>tokens", tmp_path / "report.html")
    page = read_page(tmp_path / "report.html")
    assert page.text.count(HOSTILE) >= 5
    assert not page.all("script")
    assert not page.all("img")
    assert not page.all("b") or "<b>tokens" in page.text
    (quote,) = page.all("blockquote")
    assert quote["lang"] == HOSTILE
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_hostile_metadata_are_text_too(write_tokens, tmp_path, read_page):
    """Names of streams and tokenizers are refused unless they are plain; descriptions are text."""
    with pytest.raises(ValueError, match="A stream's name must be letters, digits"):
        write_tokens([(HOSTILE, 1, 8)], [1.0], name="plain_16k")
    path = write_tokens([("units", 1, 8)], [1.0], name="plain_16k")
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"speechtok"])
    about["card"] |= {"description": HOSTILE, "citation": HOSTILE}
    changed = {**table.schema.metadata, b"speechtok": json.dumps(about).encode()}
    pq.write_table(table.replace_schema_metadata(changed), path)
    write_report(path, tmp_path / "report.html")
    page = read_page(tmp_path / "report.html")
    assert page.text.count(HOSTILE) >= 2
    assert not page.all("script")


def test_without_the_tokenizer_the_page_is_written_and_says_so(write_tokens, tmp_path, read_page):
    streams = [("prosody", 1, 1024), ("content", 2, 1024), ("units", 1, 50), ("acoustic", 8, 1024)]
    write_report(write_tokens(streams, [1.0, 2.5, 90.0]), tmp_path / "report.html")
    page = read_page(tmp_path / "report.html")
    assert "could not be turned back into speech" in page.text
    assert "random_16k" in page.text
    assert not page.all("audio")
    assert len(page.all("svg")) == 1 + 4 + 1
    assert "logarithmic" in page.text
    assert "Entropy by codebook" in page.text


def test_tokens_of_another_fingerprint_are_not_played(write_tokens, tmp_path, read_page):
    write_report(write_tokens([("mel", 80, 16)], [1.0], name="dmel_16k"), tmp_path / "report.html")
    assert "could not be turned back into speech" in read_page(tmp_path / "report.html").text


def test_run_facts_that_cannot_be_read_are_left_out(dataset, tmp_path, read_page):
    shutil.copytree(dataset, tmp_path / "copy")
    for content in ("{", "[]", '{"about": {"corpus_root": 7}, "made": {"times_real_time": "fast"}}'):
        (tmp_path / "copy/.speechtok/job.json").write_text(content)
        write_report(tmp_path / "copy", tmp_path / "report.html", examples=0)
        text = read_page(tmp_path / "report.html").text
        assert "The last run" not in text
        assert "No rows were asked for." in text


def test_wrong_arguments_are_named(dataset, tmp_path):
    with pytest.raises(ValueError, match="`examples` must be at least 0, got -1"):
        write_report(dataset, tmp_path / "report.html", examples=-1)
    with pytest.raises(DatasetError, match="holds no token dataset"):
        write_report(tmp_path, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_has_no_complaint(dataset, tmp_path):
    write_report(dataset, tmp_path / "report.html", corpus_root=CORPUS.parent, examples=1)
    quiet = (
        "headless no-sandbox disable-gpu no-first-run disable-background-networking disable-component-update"
    )
    command = ["chromium", *(f"--{option}" for option in (*quiet.split(), "disable-sync"))]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [*command, f"file://{tmp_path}/report.html"], capture_output=True, text=True, timeout=300
    )
    assert "<audio" in done.stdout
    assert "CONSOLE" not in done.stderr


def test_annotations_have_a_histogram_each_with_its_unit(dataset, tmp_path, read_page):
    copy = shutil.copytree(dataset, tmp_path / "dataset")
    annotate_dataset(copy, ["quality", "speaking_rate"], corpus=CORPUS.parent, run=RunSettings(workers=1))
    write_report(copy, tmp_path / "report.html", examples=0)
    page = read_page(tmp_path / "report.html")
    assert "bandwidth_hz , Hz : highest frequency less than 70 dB below the strongest" in page.text
    assert "silence_db = 40.0" in page.text
    pictures = " ".join(attributes.get("aria-label") or "" for attributes in page.all("svg"))
    for name in ("snr_db", "speech_share", "characters_per_second"):
        assert f"Histogram of {name} over" in pictures
    assert "0 rows of" in page.text  # without phones
    write_report(dataset, tmp_path / "plain.html", examples=0)
    assert "Annotations" not in read_page(tmp_path / "plain.html").text
