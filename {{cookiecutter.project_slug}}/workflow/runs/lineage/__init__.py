"""Where a model comes from: its run, its code, its data, its environment."""
