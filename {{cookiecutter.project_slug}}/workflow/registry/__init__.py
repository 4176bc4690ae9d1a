"""The model registry: which version is in which stage, kept in Git, mirrored to W&B."""
