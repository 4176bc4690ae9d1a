"""Restoring a run: its code, data, config and environment, in a folder of their own."""
