"""How good was it? Sessions (reward, CTR, depth) and rankings (recall, nDCG, AUC)."""
