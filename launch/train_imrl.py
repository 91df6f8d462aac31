"""Trains IMRL, an ablation or another online method in a live simulator.

    python -m launch.train_imrl --simulator=recsim --method=imrl --out=runs/imrl
    python -m launch.train_imrl --simulator=virtualtb --virtualtb_path=VirtualTaobao \
        --method=imrl_e --out=runs/imrl_e
    python -m launch.train_imrl --simulator=users --data=prepared --world=simulators/prepared \
        --method=imrl --out=runs/imrl_users

`--simulator=recsim --method=imrl --help` lists what both can be told. A folder with a run
goes on with it. It gets `metrics.jsonl`, TensorBoard logs, checkpoints and, at the end,
`policy`, a SavedModel whose `act` chooses, and `result.json`, the final test.
"""

import dataclasses

from launch import curves, flags, live
from tfrec import outputs
from tfrec.options import MAX_SEED, Options, option, required


@dataclasses.dataclass(frozen=True)
class TrainImrlConfig(Options):
    """What learns, where, and where to."""

    simulator: live.SimulatorName = required("what it learns in")
    method: str = required(f"what learns: {live.HELP}")
    out: str = required("folder of the run; one that is there goes on")
    seed: int = option(
        0,
        "seed of weights and play; test sessions are always the same",
        at_least=0,
        at_most=MAX_SEED,
    )
    save_every: int = option(100, "units between checkpoints", at_least=1)
    final_sessions: int = option(1_000, "sessions of the final test", at_least=2)
    original_sessions: int = option(
        0,
        "sessions of a final test in the original environment, where it is installed",
        at_least=0,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.original_sessions == 1:
            raise ValueError(
                "original_sessions is 1; expected 0, or at least 2 for a standard error"
            )


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
    outputs.check_folder(config.out)
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
        title = live.METHODS[config.method].title
        what = f"{title} in the {place}" if place in ("port", "original") else place
        print(f"{what}: {numbers}")


if __name__ == "__main__":
    flags.run(main)
