"""Runs: their folder, checkpoints, the training loop, summaries, tuning."""
