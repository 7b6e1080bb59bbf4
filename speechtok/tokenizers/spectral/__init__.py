"""A compact codec of short-time spectra."""
