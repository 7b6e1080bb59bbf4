"""What the commands do, each a function: tokenize, decode, evaluate and their like."""
