"""Codecs that run in `transformers`: EnCodec, DAC, Mimi, X-Codec, X-Codec 2, NeuCodec, WavTokenizer."""
