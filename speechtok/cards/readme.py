"""The README.md of a tokenizer on the Hub: what people and the Hub's search read first."""

from __future__ import annotations

from speechtok.cards.markdown import with_head
from speechtok.cards.tokenizer_card import CARD_FILE, TokenizerCard
from speechtok.wording import markdown_text


def tokenizer_readme(card: TokenizerCard, fingerprint: str, repository: str) -> str:
    """Return the model card of a tokenizer.

    Args:
        card: what was released.
        fingerprint: of the tokenizer whose weights lie beside it.
        repository: user/name, for the example.
    """
    licence = card.licence_weights or card.licence_code
    head = {
        "license": licence.lower(),
        "library_name": "speechtok",
        "pipeline_tag": "audio-to-audio",
        "tags": ["speech", "speech-tokens", "speechtok", card.family],
    }
    streams = "\n".join(
        f"| `{item.name}` | {item.num_codebooks} | {item.codebook_size} | {item.frame_rate:g} | {item.bitrate_bps:,.0f} |"
        for item in card.streams
    )
    body = f"""# {card.name}

{markdown_text(card.description)}

| stream | codebooks | codes per codebook | frames per second | bits per second |
|---|---|---|---|---|
{streams}

```python
import speechtok

tokenizer = speechtok.load_tokenizer("{repository}")
tokens = tokenizer.encode("speech.wav")  # mono, {card.sample_rate} Hz
waveform = tokenizer.decode(tokens)
```

- fingerprint: `{fingerprint}`; tokens of another fingerprint are refused
- licence of the code: {markdown_text(card.licence_code)}; of the weights: {markdown_text(card.licence_weights or "no weights are used")}
- cite: {markdown_text(card.citation)}

`{CARD_FILE}` holds every value; weights are safetensors, and loading executes nothing from this repository.
"""
    return with_head(head, body)
