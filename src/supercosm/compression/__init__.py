"""Latent compression: how few numbers describe a patch of the density field, and what is lost."""
