"""IMRL: exploration by empowerment and counterfactual augmentation on a soft actor-critic."""
