"""Pure functions of tensors: targets of value functions."""
