"""Layers, towers and distributions of networks."""
