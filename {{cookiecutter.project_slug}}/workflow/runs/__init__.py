"""Past runs: finding, comparing and restoring them, and where a model comes from."""
