"""What compression cost: residuals, response, peers, figures."""
