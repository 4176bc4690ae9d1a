"""The error that ends a command."""


class CommandError(Exception):
    """What was asked for cannot be done; the text says why and what to type, in one line.

    Where a part of the work handles one kind of it otherwise, that kind is a class of its own.
    """
