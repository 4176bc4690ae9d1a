"""Serving exported models. Nothing here imports what only training needs."""
