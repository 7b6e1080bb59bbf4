"""Published weights: read lazily and strictly, without running code."""
