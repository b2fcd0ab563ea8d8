"""Models and tables trained on a user's own jets."""
