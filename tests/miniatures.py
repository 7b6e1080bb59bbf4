"""Well-known corpora as published but for their size: each function writes one and returns its folder."""


def librispeech(root, write_corpus):
    """Two subsets, one of two speakers; one recording without text."""
    for subset, chapters in {"train-clean-100": ("19/198", "26/495"), "dev-other": ("116/288045",)}.items():
        for chapter in chapters:
            stem = chapter.replace("/", "-")
            write_corpus(
                root / "LibriSpeech" / subset / chapter, {f"{stem}-{n:04d}.flac": 0.4 for n in range(2)}
            )
            (root / "LibriSpeech" / subset / chapter / f"{stem}.trans.txt").write_text(f"{stem}-0000 A B\n")
    (root / "LibriSpeech" / "README.TXT").write_text("about")
    return root / "LibriSpeech"


def libritts(root, write_corpus):
    for subset in ("dev-clean", "test-clean"):
        number = len(subset)
        stem = f"{number}_7_000001_000000"
        folder = root / "LibriTTS" / subset / f"{number}" / "7"
        write_corpus(folder, {f"{stem}.wav": 0.4, f"{number}_7_000002_000000.wav": 0.3}, rate=24000)
        (folder / f"{number}_7.trans.tsv").write_text(f"{stem}\tMr. A\tMister A\n")
        (folder / f"{stem}.normalized.txt").write_text("Mister A")
        (folder / f"{stem}.original.txt").write_text("Mr. A")
    return root / "LibriTTS"


def vctk(root, write_corpus):
    for speaker in ("p225", "s5"):
        names = {f"{speaker}_001_mic{n}.flac": 0.4 for n in (1, 2)}
        write_corpus(root / "VCTK" / "wav48_silence_trimmed" / speaker, names, rate=48000)
        (root / "VCTK" / "txt" / speaker).mkdir(parents=True)
        (root / "VCTK" / "txt" / speaker / f"{speaker}_001.txt").write_text("Please call Stella.\n")
    (root / "VCTK" / "speaker-info.txt").write_text("ID AGE\n")
    return root / "VCTK"


def ljspeech(root, write_corpus):
    folder = root / "LJSpeech-1.1"
    write_corpus(folder / "wavs", {f"LJ001-000{n}.wav": 0.4 for n in (1, 2)}, rate=22050)
    (folder / "metadata.csv").write_text('LJ001-0001|in 1455 "so|in fourteen "so\nLJ001-0002|yes|yes\n')
    return folder


def common_voice(root, write_corpus):
    folder = root / "cv-corpus-17.0" / "de"
    write_corpus(folder / "clips", {f"common_voice_de_{n}.mp3": 0.4 for n in (1, 2, 3)})
    header = (
        "client_id\tpath\tsentence_id\tsentence\tup_votes\tage\tgender\taccents\tvariant\tlocale\tsegment\n"
    )
    for number, split in enumerate(("train", "dev", "other"), start=1):
        row = f'c{number}\tcommon_voice_de_{number}.mp3\tx\t"Ja", sagt er\t2\ttwenties\t\t\t\tde\t\n'
        (folder / f"{split}.tsv").write_text(header + row)
    durations = "clip\tduration[ms]\n" + "".join(f"common_voice_de_{n}.mp3\t400\n" for n in (1, 3))
    (folder / "clip_durations.tsv").write_text(durations)
    return root / "cv-corpus-17.0"


def emilia(root, write_corpus):
    """Tars of MP3 and JSON, as Emilia has them."""
    import webdataset

    audio = write_corpus(root / "loose", {f"{n}.mp3": 0.4 for n in range(3)})
    (root / "Emilia").mkdir()
    with webdataset.ShardWriter(f"{root}/Emilia/EN-B%06d.tar", maxcount=2, verbose=0) as sink:
        for number in range(3):
            key = f"EN_B00000_S0000{number}_W000000"
            described = {
                "id": key, "wav": f"EN_B00000/{key}.mp3", "text": " Hello.", "duration": 0.4,
                "speaker": f"EN_B00000_S0000{number}", "language": "en", "dnsmos": 3.3,
            }  # fmt: skip
            content = (audio / f"{number}.mp3").read_bytes()
            sink.write({"__key__": key, "mp3": content, "json": described})
    return root / "Emilia"


def folder(root, write_corpus):
    return write_corpus(root / "any", {"a/1.wav": 0.4, "b.flac": 0.3})


MINIATURES = {
    item.__name__: item for item in (librispeech, libritts, vctk, ljspeech, common_voice, emilia, folder)
}
