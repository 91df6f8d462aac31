"""Replay buffers: rings of columns, drawn uniformly, by priority or in n steps."""
