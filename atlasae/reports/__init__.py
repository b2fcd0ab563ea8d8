"""Reports on what compression costs: residuals, response, other methods, figures."""
