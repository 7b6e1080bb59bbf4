"""Fitting the parts of a tokenizer on one's own audio."""
