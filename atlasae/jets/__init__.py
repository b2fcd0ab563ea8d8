"""What a jet and its error are."""
