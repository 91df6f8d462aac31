"""Export of trained recommenders as verified SavedModels, and their server."""
