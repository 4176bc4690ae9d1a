"""Deployments of exported models: containers on this machine, and what a cluster is told."""
