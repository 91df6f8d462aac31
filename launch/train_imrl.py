"""Trains IMRL, an ablation or another online method in a live simulator.

    python -m launch.train_imrl --simulator=recsim --method=imrl --out=runs/imrl
    python -m launch.train_imrl --simulator=virtualtb --virtualtb_path=VirtualTaobao \
        --method=imrl_e --out=runs/imrl_e

`--simulator=recsim --method=imrl --help` lists what both can be told. A folder with a run
goes on with it. It gets `metrics.jsonl`, TensorBoard logs, checkpoints and, at the end,
`policy`, a SavedModel whose `act` chooses, and `result.json`, the final test.
"""

import dataclasses

from launch import curves, flags, live
from tfrec.training.options import option, required


@dataclasses.dataclass(frozen=True)
class TrainImrlConfig:
    """What learns, where, and where to."""

    simulator: live.SimulatorName = required("what it learns in")
    method: str = required(f"what learns: {live.HELP}")
    out: str = required("folder of the run; one that is there goes on")
    seed: int = option(0, "seed of weights and play; test sessions are always the same")
    save_every: int = option(100, "units between checkpoints")
    final_sessions: int = option(1_000, "sessions of the final test")
    original_sessions: int = option(
        0, "sessions of a final test in the original environment, where it is installed"
    )

    def __post_init__(self):
        if self.save_every < 1:
            raise ValueError(f"save_every is {self.save_every}; expected at least 1")
        if self.final_sessions < 2:
            raise ValueError(f"final_sessions is {self.final_sessions}; expected at least 2")


_chosen: dict[str, str] = {}


def _sizes(simulator: str) -> type:
    _chosen["simulator"] = simulator
    return live.sizes_class(simulator)


flags.define(TrainImrlConfig)
flags.define(live.SimulatorConfig)
flags.define_chosen("simulator", live.SIMULATORS, _sizes)
if _chosen:
    flags.define_chosen(
        "method", live.METHODS, lambda name: live.config_class(name, _chosen["simulator"])
    )


def main(_):
    config = flags.read(TrainImrlConfig)
    live.get(config.method)
    task = curves.Task(
        simulator=config.simulator,
        method=config.method,
        seed=config.seed,
        at=flags.read(live.SimulatorConfig),
        sizes=flags.read(live.sizes_class(config.simulator)),
        numbers=flags.read(live.config_class(config.method, config.simulator)),
        save_every=config.save_every,
        final_sessions=config.final_sessions,
        original_sessions=config.original_sessions,
    )
    result = curves.run(config.out, task)
    for place, judged in result["judged"].items():
        numbers = ", ".join(
            f"{name} {judged[name]:.4g} +- {judged[f'{name}_error']:.2g}"
            for name in ("ctr", "reward")
        )
        print(f"{live.METHODS[config.method].title} in the {place}: {numbers}")


if __name__ == "__main__":
    flags.run(main)
