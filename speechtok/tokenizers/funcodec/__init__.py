"""FunCodec: residual vector quantization of a convolutional latent, in time or in time and frequency."""
