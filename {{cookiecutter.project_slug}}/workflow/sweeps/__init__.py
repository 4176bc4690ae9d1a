"""Sweeps: an Optuna study whose trials are trainings, run by any number of workers."""
