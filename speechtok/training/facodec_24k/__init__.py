"""Training FAcodec at 24 kHz, and its redecoder, on speech alone."""
