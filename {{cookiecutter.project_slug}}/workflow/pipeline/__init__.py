"""Running the stages and the experiments, and showing their results."""
