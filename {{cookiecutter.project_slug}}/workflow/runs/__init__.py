"""Runs of the past: finding, comparing and restoring them, and where a model is from."""
