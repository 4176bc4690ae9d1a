"""Running the stages and the experiments, and what came out."""
