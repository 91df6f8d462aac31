"""Users fitted on a log: the model, its fit, its calibration and its variants."""
