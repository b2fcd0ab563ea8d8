"""File to file: compress, decompress, verify, read."""
