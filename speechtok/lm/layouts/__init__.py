"""Orders of codes that language models read, as pure functions with their inverses."""
