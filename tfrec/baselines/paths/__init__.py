"""Recommendation by paths of a knowledge graph: PGPR, whose paths explain its lists."""
