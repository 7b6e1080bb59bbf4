"""Reading published weights: `read`."""
