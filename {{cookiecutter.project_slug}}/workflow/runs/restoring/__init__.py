"""Bringing a run back: its code, data, config and environment, in a folder of their own."""
