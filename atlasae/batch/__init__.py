"""Many files: workers, a journal, commands for a cluster."""
