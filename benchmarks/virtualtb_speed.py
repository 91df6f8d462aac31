"""Steps thousands of users of VirtualTB at once, beside one at a time.

    python -m benchmarks.virtualtb_speed --folder=CLONE --original_python=TORCH/bin/python

All take random actions in [-1, 1], with a new user after each session. `ours` is the TF-Agents
environment over the batched simulator, with actions drawn and sessions restarted within the
graph. `original` is the unchanged gym environment of the clone, in the named interpreter, which
has torch and gym 0.23; it is left out without one. `numpy loop` computes the steps of the
original for one user without other libraries, as a lower bound of any loop. Each uses one
thread. Printed: user-steps per second of the median repetition, and the ratio of ours to it.
"""

import pathlib
import statistics
import subprocess
from collections.abc import Callable
from typing import IO

import numpy as np
import tensorflow as tf

from benchmarks import command_line, timing
from tfrec.environments.adapters import batched_env
from tfrec.environments.ports import torch_weights, virtualtb

STEPS = 100  # of all users, in a repetition

# Reads a number of steps from each input line, takes them, and prints one line.
ORIGINAL = """
import sys
import numpy as np
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from virtualTB.envs import VirtualTB
env, rng = VirtualTB(), np.random.default_rng(0)
env.seed(0)
env.reset()
print("ready", flush=True)
for line in sys.stdin:
    clicks = 0
    for _ in range(int(line)):
        _, reward, done, _ = env.step(rng.uniform(-1, 1, 27))
        clicks += reward
        if done:
            env.reset()
    print(clicks, flush=True)
"""

Weights = list[np.ndarray]  # kernel [out, in] and bias [out] of each layer


class OneUser:
    """VirtualTB in numpy, one user at a time.

    Args:
      folder: folder of the three `*_model.pt`.
      seed: seed of all draws.
    """

    def __init__(self, folder: pathlib.Path, seed: int):
        self.networks: dict[str, Weights] = {
            name: list(torch_weights.read(folder / file).values())
            for name, (file, _) in virtualtb.FILES.items()
        }
        self._starts = np.cumsum([0, *virtualtb.GROUPS])
        self._rng = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        """Starts a session of a new user."""
        noise = self._rng.random(virtualtb.NOISE_SIZE, np.float32)
        logits = self.logits("generator", noise)
        self.user = np.zeros(virtualtb.USER_SIZE, np.float32)
        for start, end in zip(self._starts[:-1], self._starts[1:], strict=True):
            self.user[start + self._draw(logits[start:end])] = 1.0
        self.leave = self._draw(self.logits("leave", self.user))
        self.page = 0

    def step(self, action: np.ndarray) -> tuple[int, int, bool]:
        """Clicks and second feedback to an action [27], and whether the user left."""
        logits = self.logits("action", np.concatenate([self.user, [self.page], action]))
        split = virtualtb.SHOWN + 1
        clicks, second = self._draw(logits[:split]), self._draw(logits[split:])
        self.page += 1
        return clicks, second, self.page >= self.leave

    def logits(self, name: str, x: np.ndarray) -> np.ndarray:
        """Output of a network for one input."""
        weights, x = self.networks[name], x.astype(np.float32)
        for layer in range(0, len(weights), 2):
            if layer:
                x = np.where(x < 0, 0.01 * x, x)
            x = weights[layer] @ x + weights[layer + 1]
        return x

    def _draw(self, logits: np.ndarray) -> int:
        shares = np.cumsum(np.exp(logits - logits.max(), dtype=np.float64))
        return int(np.searchsorted(shares, self._rng.random() * shares[-1], side="right"))

    def play(self, steps: int, rng: np.random.Generator) -> int:
        """Takes steps with random actions and returns the clicks."""
        total = 0
        for _ in range(steps):
            clicks, _, done = self.step(rng.uniform(-1, 1, virtualtb.ACTION_SIZE))
            total += clicks
            if done:
                self.reset()
        return total


def main(folder: str, batch: int, repeats: int, loop_steps: int, original: str | None) -> None:
    """Measures all implementations in turn and prints a table.

    Args:
      folder: a clone of VirtualTaobao, or, without `original`, its three files.
      batch: users that ours steps at once.
      repeats: counted repetitions.
      loop_steps: steps of a repetition of one user.
      original: an interpreter with torch and gym.
    """
    timing.one_thread()
    env = batched_env.BatchedTFEnvironment(virtualtb.VirtualTaobao(folder), batch, seed=0)
    generator = tf.random.Generator.from_seed(0)

    @tf.function
    def ours() -> tf.Tensor:
        played = tf.zeros([], tf.int32)  # a row that starts a session takes no step
        for _ in tf.range(STEPS):
            action = generator.uniform([batch, virtualtb.ACTION_SIZE], -1.0, 1.0)
            now = env.step(action)
            played += tf.math.count_nonzero(~now.is_first(), dtype=tf.int32)
        return played

    played: list[int] = []
    rng = np.random.default_rng(0)
    one = OneUser(virtualtb.data_folder(folder), seed=0)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: played.append(ours().numpy()),
        "numpy loop": lambda: one.play(loop_steps, rng),
    }
    loops = {"numpy loop": loop_steps, "original": loop_steps}
    if original is None:
        taken = timing.alternate(ways, repeats)
        _report(taken, {"ours": statistics.mean(played), **loops})
        return
    with subprocess.Popen(
        [original, "-c", ORIGINAL, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout
        requests, replies = process.stdin, process.stdout
        _line(replies)  # imports are not counted
        ways["original"] = lambda: _run_original(requests, replies, loop_steps)
        taken = timing.alternate(ways, repeats)
        _report(taken, {"ours": statistics.mean(played), **loops})
        requests.close()


def _run_original(requests: IO[str], replies: IO[str], steps: int) -> str:
    print(steps, file=requests, flush=True)
    return _line(replies)


def _line(replies: IO[str]) -> str:
    line = replies.readline()
    if not line:
        raise SystemExit("the original stopped; its messages are above")
    return line


def _report(taken: dict[str, timing.Timing], units: dict[str, float]) -> None:
    """Prints wall times only: the original's processor time belongs to another process."""
    speed = {name: units[name] / took.wall for name, took in taken.items()}
    print(f"{'':12}{'user-steps/s':>14}{'ours is faster':>16}")
    for name, each in speed.items():
        faster = "" if name == "ours" else f"{speed['ours'] / each:.0f}x"
        print(f"{name:12}{each:14,.0f}{faster:>16}")


if __name__ == "__main__":
    parser = command_line.parser(__doc__)
    parser.add_argument(
        "--folder", type=command_line.folder, required=True, help="clone of VirtualTaobao"
    )
    parser.add_argument(
        "--batch", type=command_line.at_least(1), default=4096, help="users stepped at once"
    )
    parser.add_argument(
        "--repeats", type=command_line.at_least(1), default=5, help="counted repetitions"
    )
    parser.add_argument(
        "--loop_steps", type=command_line.at_least(1), default=1000, help="steps of one user"
    )
    parser.add_argument("--original_python", help="interpreter with torch and gym 0.23")
    flags = parser.parse_args()
    main(flags.folder, flags.batch, flags.repeats, flags.loop_steps, flags.original_python)
