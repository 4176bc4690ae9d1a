"""A project and its template: where it comes from, what is newer, and updates.

Standard library only. The project may be of any earlier version, so every function takes its
folder.
"""
