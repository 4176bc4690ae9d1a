"""The project's command line: `inv --list`. Tasks of your own go here, beside the workflow's."""

from workflow.tasks import namespace

__all__ = ["namespace"]
