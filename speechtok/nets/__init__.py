"""Network parts that several tokenizer families share, and the devices they run on."""
