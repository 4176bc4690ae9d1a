"""What goes wrong with a deployment."""


class DeployError(Exception):
    """What is wrong, and how to fix it, in one line."""
