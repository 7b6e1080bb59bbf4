import numpy as np
import soundfile

from speechtok.shards.reader import TokenDataset


def test_bad_files_are_named_and_the_others_go_on(tmp_path, clips, facodec, speechtok):
    short, text = tmp_path / "short.wav", tmp_path / "text.wav"
    soundfile.write(short, np.full(10, 0.1), 16000)
    text.write_text("no audio at all, but a few words\n")
    output = tmp_path / "tokens.parquet"
    settings = ("--tokenizer", "facodec", "--checkpoint", facodec, "--output", output)
    code, out, err = speechtok("encode", short, clips[0], text, *settings)
    assert code == 1
    assert (
        f"Cannot encode '{short}': The recording has 10 samples (0.0006 s); 'facodec' needs at least 152."
        in err
    )
    assert err.count("\n") == 2
    assert str(text) in err
    assert f"{clips[0]}: 1.00 s, prosody 1×80, content 2×80, residual 3×80" in out
    assert f"Wrote 1 row to {output}." in out
    assert [row["id"] for row in TokenDataset(output)] == [str(clips[0])]


def test_nothing_is_written_when_no_file_can_be_encoded(tmp_path, facodec, speechtok):
    short, output = tmp_path / "short.wav", tmp_path / "tokens.parquet"
    soundfile.write(short, np.full(10, 0.1), 16000)
    settings = ("--tokenizer", "facodec", "--checkpoint", facodec, "--output", output)
    code, out, err = speechtok("encode", short, *settings)
    assert (code, out) == (1, "")
    assert err.endswith("speechtok: No file could be encoded; nothing was written.\n")
    assert list(tmp_path.iterdir()) == [short]


def test_output_that_exists_and_a_file_given_twice(tmp_path, clips, speechtok):
    output = tmp_path / "tokens.parquet"
    code, _, err = speechtok("encode", clips[0], clips[0], "--output", output)
    assert code == 1
    assert f"{clips[0]} is given twice." in err
    output.write_bytes(b"kept")
    code, _, err = speechtok("encode", clips[0], "--output", output)
    assert code == 1
    assert f"{output} exists already; choose another output." in err
    assert output.read_bytes() == b"kept"
