"""Audio files and sample rates; the only room that knows soundfile and soxr."""
