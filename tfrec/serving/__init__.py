"""How does a trained recommender leave? As a verified SavedModel that ranks for any goal."""
