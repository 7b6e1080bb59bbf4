"""Content units, quantized pitch, a speaker vector, and the unit vocoder that speaks them."""
