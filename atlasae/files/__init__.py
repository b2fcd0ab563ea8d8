"""Bytes anywhere, no jets: ROOT files, tables and what stores them."""
