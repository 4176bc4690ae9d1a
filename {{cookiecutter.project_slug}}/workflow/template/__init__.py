"""The project and its template: where it comes from, what is newer, how it follows.

Standard library only, and a project of any earlier version is what it may be about: so every
function takes the project's folder.
"""
