"""Jets: their variables, coordinates, units, storage in trees, and errors."""
