"""Tokenizer families: one folder each, strangers to each other, behind the interface in `base`."""
