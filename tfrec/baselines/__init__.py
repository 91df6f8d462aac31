"""Who do we compare with? One file for each method, and the controls."""
