"""Jets to latents or bytes, and back, within a bound."""
