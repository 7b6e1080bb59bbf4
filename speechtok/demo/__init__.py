"""The demonstration: a small corpus of made speech, and the main job run on it."""
