"""Models and tables of your own jets."""
