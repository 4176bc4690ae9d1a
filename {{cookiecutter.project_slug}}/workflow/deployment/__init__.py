"""Deployments of exported models: containers on this machine, and files for a cluster."""
