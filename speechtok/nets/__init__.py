"""Network parts that several tokenizer families share."""
