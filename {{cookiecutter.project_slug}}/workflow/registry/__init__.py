"""The model registry: which version of the model is in which stage, kept in Git, told to W&B."""
