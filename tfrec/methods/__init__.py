"""The contract of methods that learn by playing, and the loop that runs them."""
