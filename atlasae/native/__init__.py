"""Parts in C, and what loads them."""
