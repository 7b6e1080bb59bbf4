"""FAcodec at 24 kHz: the factorized codec that needs no annotations."""
