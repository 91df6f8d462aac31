"""Recommendation by paths of a knowledge graph: PGPR, with paths that explain its lists."""
