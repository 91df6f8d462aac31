"""How does a run go? Options, checkpoints, the loop, summaries and progress."""
