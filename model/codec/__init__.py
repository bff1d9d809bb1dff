"""What the network sees of a radiograph: its pixels, or the latents of an autoencoder."""
