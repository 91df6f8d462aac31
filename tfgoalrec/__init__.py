"""GoalRec: a world model of measurements, ranked under any goal (Wang et al., AAAI 2021)."""

import tfrec  # noqa: F401  selects Keras 2 before TensorFlow is imported
from tfgoalrec import method
from tfgoalrec.goalrec import GoalRec, load

__all__ = ["GoalRec", "load"]

method.register()
