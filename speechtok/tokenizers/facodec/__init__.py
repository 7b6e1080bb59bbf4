"""FACodec (NaturalSpeech 3): speech in factors of prosody, content, residual detail and timbre."""
