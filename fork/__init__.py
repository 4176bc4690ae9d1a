"""A fork of this template as a layer: the folder team/, laid over what upstream ships."""

import sys
from pathlib import Path

# What reads records, merges trees and updates projects is the workflow's, in each project too.
PROJECT = "{{cookiecutter.project_slug}}"
WORKFLOW = str(Path(__file__).resolve().parents[1] / PROJECT)
sys.dont_write_bytecode = True  # it would be in projects that are generated from this folder
if WORKFLOW not in sys.path:
    sys.path.append(WORKFLOW)
