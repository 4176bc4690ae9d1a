"""What every framework does the same around a training: its run, and its result."""
