"""Training the spectral codec."""
