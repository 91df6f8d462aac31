"""Layers, towers and distributions that networks are built of."""
