"""Gymnasium environments whose returns are known; importing the module registers them."""

import gymnasium
import numpy as np
from gymnasium import spaces


class Sum(gymnasium.Env):
    """Pays the sum of the action and a number drawn at the start; ends after three steps.

    A sum of at least 4 is a click. The observation is the number, one of three, and the number,
    the steps taken and the latest sum as numbers.
    """

    length = 3
    observation_space = spaces.Dict(
        {"number": spaces.Discrete(3), "seen": spaces.Box(-100, 100, [3], np.float64)}
    )

    def __init__(self, action_space):
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number, self.steps, self.sum = int(self.np_random.integers(3)), 0, 0.0
        return self._observation(), {}

    def _observation(self):
        seen = np.array([self.number, self.steps, self.sum], np.float64)
        return {"number": self.number, "seen": seen}

    def step(self, action):
        assert self.action_space.contains(action), action
        assert self.steps < self.length, "it has ended"
        self.steps, self.sum = self.steps + 1, float(np.sum(action))
        reward, ended = self.sum + self.number, self.steps >= self.length
        said = {"clicks": int(self.sum >= 4), "shown": 4}
        return self._observation(), reward, ended, False, said


class Endless(gymnasium.Env):
    """Pays 1 - |action| and never ends."""

    observation_space = spaces.Box(-1.0, 1.0, [1], np.float32)
    action_space = spaces.Box(-1.0, 1.0, [1], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros([1], np.float32), {}

    def step(self, action):
        return action, 1.0 - abs(float(action[0])), False, False, {}


class Failing(Endless):
    """Goes wrong in its second step: raises, or gives an observation of another size."""

    def __init__(self, how):
        self.how = how

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        if self.how == "reset":
            raise OSError("the table is closed")
        return super().reset(seed=seed)

    def step(self, action):
        self.steps += 1
        if self.steps == 2 and self.how == "raises":
            raise ZeroDivisionError("no dealer")
        if self.steps == 2:
            return np.zeros([4], np.float32), 0.0, False, False, {}
        return super().step(action)


def _register(name, env, limit=None, **arguments):
    gymnasium.register(f"{name}-v0", entry_point=env, max_episode_steps=limit, kwargs=arguments)


_register("SumBox", Sum, action_space=spaces.Box(0.0, 10.0, [2, 1], np.float32))
_register("SumOne", Sum, action_space=spaces.Discrete(4, start=5))
_register("SumSlate", Sum, action_space=spaces.MultiDiscrete([4, 4]))
_register("SumMixed", Sum, action_space=spaces.MultiDiscrete([5, 4]))
_register("SumCrowded", Sum, action_space=spaces.MultiDiscrete([2, 2, 2]))
_register("SumUnbounded", Sum, action_space=spaces.Box(-np.inf, np.inf, [2]))
_register("SumSwitches", Sum, action_space=spaces.MultiBinary(3))
_register("Endless", Endless)
_register("Limited", Endless, limit=4)
for _how in ("reset", "raises", "shape"):
    _register(f"Failing{_how.capitalize()}", Failing, how=_how)
