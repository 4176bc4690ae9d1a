"""What takes room in a project, and what of it can go: nothing that exists nowhere else."""
