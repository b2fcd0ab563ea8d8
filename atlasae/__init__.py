"""Jets of four variables in three floats and back, each jet within a promised precision."""
