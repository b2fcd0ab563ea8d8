"""Many files: worker processes, a journal, submit files for a cluster."""
