"""Operations on whole files: compress, decompress, verify and read."""
