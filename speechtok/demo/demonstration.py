"""The main job on the shipped clips, step by step and told in plain lines.

    OUTPUT/tokens/        the token dataset
    OUTPUT/wav/           every row, decoded
    OUTPUT/report.html    the report

Each step is one public function; the same calls work on any corpus.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from speechtok.audio.io import read_waveform
from speechtok.commands.decode import decode_dataset, wav_path
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import RunResult, RunSettings
from speechtok.errors import DatasetError
from speechtok.report import write_report
from speechtok.report.tables import read_failures
from speechtok.shards.layout import Layout
from speechtok.shards.reader import TokenDataset
from speechtok.shards.verify import Verification, verify
from speechtok.wording import count_text, duration_text, rate_text, size_text

CORPUS = Path(__file__).with_name("clips") / "manifest.tsv"
"""The corpus that the package ships."""
BROKEN = "en-us/finn-2.flac"
"""The clip that is broken on purpose."""
TOKENIZER = "dmel_16k"
"""The tokenizer that needs no weights."""


def run_demo(output: Path, *, say: Callable[[str], None], run: RunSettings | None = None) -> Path:
    """Tokenize the shipped clips, verify, decode and report; return the path of the report.

    Into the same folder again, finished shards are kept and only the rest is done.

    Args:
        output: folder for dataset, WAV files and report; made when it is missing.
        say: called with each line of the story.
        run: where and how to tokenize; None takes the processes of this machine.

    Raises:
        JobError: when `output` cannot be written or holds something else.
        DatasetError: when the dataset does not verify.
    """
    tokens, wav, report = output / "tokens", output / "wav", output / "report.html"
    say(f"Tokenizing {CORPUS} with {TOKENIZER} …")
    _tell_job(say, tokenize_corpus(CORPUS, tokens, tokenizer=TOKENIZER, run=run), tokens)
    say("Verifying every file against the plan …")
    _tell_verification(say, verify(Layout(tokens)), tokens)
    say(f"Decoding every row into {wav} …")
    count = decode_dataset(tokens, wav)
    say(f"  {count_text(count, 'WAV file')}, from the stored tokens alone.")
    _tell_intelligibility(say, tokens, wav)
    say("Writing the report …")
    write_report(tokens, report, corpus_root=CORPUS.parent)
    say(f"  {report.resolve()}: open it in a browser to listen.")
    return report


def _tell_job(say: Callable[[str], None], job: RunResult, tokens: Path) -> None:
    if job.shards_made:
        speed = job.seconds_made / job.wall_seconds if job.wall_seconds else 0.0
        say(
            f"  {duration_text(job.seconds_made)} of speech in {duration_text(job.wall_seconds)}: {speed:,.0f} × real time."
        )
    else:
        say(
            "  All is done already: every shard is there, and what it should be. Nothing was tokenized again."
        )
    say(f"  {count_text(job.rows, 'utterance')} in {count_text(job.shards, 'shard')}, in {tokens}.")
    for failure in read_failures(tokens).listed:
        say(f"  Set aside: {failure['id']}")
        say(f"    {failure['message']}")


def _tell_verification(say: Callable[[str], None], found: Verification, tokens: Path) -> None:
    """Say what was verified.

    Raises:
        DatasetError: when something is wrong, naming the first problem.
    """
    if found.problems:
        raise DatasetError(
            f"{tokens} has {count_text(len(found.problems), 'problem')}; the first one: {found.problems[0]}"
        )
    bound = TokenDataset(tokens).info.bitrate_bps
    say(f"  All is well: {count_text(found.rows, 'row')}, {found.quarantined} in quarantine.")
    say(
        f"  {size_text(found.bytes)} for {duration_text(found.seconds)}: {rate_text(8 * found.bytes / found.seconds)} on disk, "
        f"where the codes alone are {rate_text(bound)} uncompressed."
    )


def _tell_intelligibility(say: Callable[[str], None], tokens: Path, wav: Path) -> None:
    """Say the mean STOI of the decoded clips, if pystoi is installed."""
    try:
        from pystoi import stoi
    except ImportError:
        return
    scores = []
    for row in TokenDataset(tokens, columns=["id", "audio"]):
        decoded = read_waveform(wav_path(wav, row["id"]))
        original = read_waveform(CORPUS.parent / row["audio"], sample_rate=decoded.sample_rate)
        scores.append(float(stoi(original.samples, decoded.samples, decoded.sample_rate)))
    say(
        f"  Intelligibility (STOI, 1 is perfect): {sum(scores) / len(scores):.3f} on average, {min(scores):.3f} at least."
    )
