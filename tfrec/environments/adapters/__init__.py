"""Environments as TF-Agents environments."""
