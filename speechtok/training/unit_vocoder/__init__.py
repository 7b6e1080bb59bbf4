"""Training the unit vocoder against discriminators."""
