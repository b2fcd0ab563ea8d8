"""Grafting: the bytes of a ROOT file that are not jets are carried without being interpreted."""
