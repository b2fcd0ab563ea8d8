"""Codecs: jets to latents or bytes and back, within bounds."""
