"""Jobs of a cluster: what is asked of SLURM, their code as a snapshot, and following them."""
