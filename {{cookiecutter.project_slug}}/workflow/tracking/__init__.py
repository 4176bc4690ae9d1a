"""Weights & Biases: starting a run, what it logs, and its provenance."""
