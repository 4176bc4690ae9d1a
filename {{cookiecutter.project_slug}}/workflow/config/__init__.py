"""Composing conf/, and checking every value in it."""
