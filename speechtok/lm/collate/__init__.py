"""Utterances to batches of tensors, one collator per way of modelling."""
