"""Weights & Biases: starting a run, what it logs, and what it was made from."""
