"""What is the same around a training of every framework: its run, and its result."""
