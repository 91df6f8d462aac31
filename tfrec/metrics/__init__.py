"""Metrics of sessions (reward, CTR, depth) and rankings (recall, nDCG, AUC)."""
