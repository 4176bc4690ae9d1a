"""What goes wrong with a deployment."""


class DeployError(Exception):
    """What is wrong, and how to mend it, in one line."""
