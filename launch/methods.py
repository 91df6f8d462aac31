"""Every method of the repository by its name, as a flag; see `tfrec.methods.registry`."""

from typing import Literal, get_args

import tfgoalrec  # noqa: F401  registers GoalRec
import tfrec.baselines  # noqa: F401  registers the baselines
from tfrec.methods.registry import METHODS, Learner, Method, get, item_vectors, load

__all__ = ["HELP", "METHODS", "Learner", "Method", "Name", "get", "item_vectors", "load"]

Name = Literal["wide_and_deep", "dien", "dyna_q", "rainbow", "td3", "goalrec", "goalrec_off"]
HELP = f"{', '.join(get_args(Name))}; with one of them, --help lists its own flags too"
