"""Replay buffers: ring buffers with uniform, prioritized and n-step sampling."""
