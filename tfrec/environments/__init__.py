"""User models and simulators that step thousands of sessions in one graph."""
