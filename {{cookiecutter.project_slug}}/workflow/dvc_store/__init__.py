"""DVC's repository, cache and remote: what opens them, and DVC's own commands."""
