"""Runs the whole chain on the embedded log: data, users, training, evaluation, export, lists.

    python -m launch.demo --out=runs/demo

Each step is one of the other scripts, run with the flags that are printed. GoalRec-off
learns from the log alone. GoalRec and the baselines then also play, with the same number of
sessions and updates: with the embedded truth, which represents live users, or with users fitted
on the log (--play_in=fitted). All are evaluated in both.
"""

import dataclasses
import pathlib
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import rich

from launch import flags
from tfrec import outputs
from tfrec.data import storage
from tfrec.errors import UserError
from tfrec.options import Options, option
from tfrec.report import style

_Baseline = Literal["rainbow", "td3", "dyna_q", "dien", "wide_and_deep"]


@dataclasses.dataclass(frozen=True)
class DemoConfig(Options):
    """Output folder and sizes of the demo."""

    out: str = option(
        "runs/demo", "folder for all results; a new folder, or that of an earlier demo"
    )
    users: int = option(6000, "number of users in the embedded log", at_least=1)
    seeds: int = option(3, "number of seeds of each method", at_least=1)
    epochs: int = option(
        12, "largest number of passes over the log when fitting users", at_least=1
    )
    log_rounds: int = option(16, "rounds of learning from the log", at_least=1)
    play_rounds: int = option(30, "rounds of play and learning", at_least=1)
    updates_per_round: int = option(60, "updates in a round", at_least=1)
    baselines: tuple[_Baseline, ...] = option(
        ("rainbow",),
        "methods that learn beside GoalRec with the same budget: rainbow, td3, dyna_q, dien, "
        "wide_and_deep; an earlier demo in the folder goes on with further ones",
        distinct=True,
    )
    play_in: Literal["truth", "fitted"] = option(
        "truth", "environment of play: the embedded truth, or the users fitted on the log"
    )


flags.define(DemoConfig)

Step = Callable[..., None]  # (title, script, *arguments) -> None


def main(_):
    config = flags.read(DemoConfig)
    outputs.check_folder(config.out)
    out = pathlib.Path(config.out)
    began = time.monotonic()

    def step(title: str, script: str, *arguments: str) -> None:
        seconds = time.monotonic() - began
        rich.print(f"\n[bold]{title}[/] ({seconds:.0f} s)")
        print(f"python -m {script} {shlex.join(arguments)}", flush=True)  # one line, to copy
        code = flags.call(script, arguments)
        if code:
            raise UserError(f"{script} ended with exit code {code}; see its message above")

    _prepare(step, config, out)
    agents = _train(step, config, out)
    _evaluate(step, out, agents)
    newest = _export(step, out, agents["goalrec"][0])
    baselines = ", ".join(f"{name}-seed*/" for name in config.baselines) or "(none)"
    rich.print(
        f"\nDone in {time.monotonic() - began:.0f} s. All results are in [bold]{out}[/]:\n"
        "  results.json, report.html   the table above, with intervals and plots\n"
        "  fitted/report.html          the same, evaluated with the fitted users\n"
        "  simulator/simulator.md      how the fitted users compare with the log\n"
        "  goalrec-seed*/              agents, checkpoints, metrics\n"
        f"  {baselines:26}  the same files of the baselines\n"
        f"  export/{newest}/                   the model for serving, with its model card\n"
        f"  tensorboard --logdir={out}  the runs' curves"
    )


def _prepare(step: Step, config: DemoConfig, out: pathlib.Path) -> None:
    """Prepares the embedded log and fits users on it."""
    step(
        "1. A log becomes sessions",
        "launch.prepare_data",
        "--source=embedded",
        f"--out={out / 'data'}",
        "--overwrite",
        f"--embedded_num_users={config.users}",
        "--max_steps=30",
        "--history_length=20",
    )
    step(
        "2. Simulated users are fitted on the log",
        "launch.fit_simulator",
        f"--data={out / 'data'}",
        f"--out={out / 'simulator'}",
        f"--max_epochs={config.epochs}",
        "--overwrite",
    )


def _train(step: Step, config: DemoConfig, out: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Trains all methods; returns the agents' folders, one for each seed, by name."""
    budget = (
        f"--data={out / 'data'}",
        f"--world={'truth' if config.play_in == 'truth' else out / 'simulator'}",
        f"--log_rounds={config.log_rounds}",
        f"--play_rounds={config.play_rounds}",
        f"--updates_per_round={config.updates_per_round}",
    )
    titles = {"goalrec": "3. GoalRec learns from the log, then by playing"}
    for name in config.baselines:
        titles[name] = f"4. {style.policy_name(name)} learns with the same budget"
    runs: dict[str, list[pathlib.Path]] = {}
    for method, title in titles.items():
        runs[method] = [out / f"{method}-seed{seed}" for seed in range(config.seeds)]
        for seed, run in enumerate(runs[method]):
            step(
                f"{title}; seed {seed}",
                "launch.train",
                f"--method={method}",
                *budget,
                f"--out={run}",
                f"--seed={seed}",
            )
    return {
        "goalrec_off": [run / "agent_off" for run in runs["goalrec"]],
        "goalrec": [run / "agent" for run in runs["goalrec"]],
        **{name: [run / "agent" for run in runs[name]] for name in config.baselines},
    }


def _evaluate(
    step: Step, out: pathlib.Path, agents: Mapping[str, Sequence[pathlib.Path]]
) -> None:
    """Evaluates the agents on the fitted users and on the truth."""
    entries = ",".join(f"{name}={path}" for name, paths in agents.items() for path in paths)
    for title, world, folder in (
        ("5. Evaluated on the fitted users", str(out / "simulator"), out / "fitted"),
        ("6. Evaluated on the truth", "truth", out),
    ):
        step(
            title,
            "launch.evaluate",
            f"--data={out / 'data'}",
            f"--world={world}",
            f"--agents={entries}",
            f"--out={folder}",
            "--max_users=1200",
        )


def _export(step: Step, out: pathlib.Path, agent: pathlib.Path) -> int:
    """Exports an agent and ranks with it under two goals; returns the version."""
    data, export = out / "data", out / "export"
    step(
        "7. Exported for serving",
        "launch.export_model",
        f"--agent={agent}",
        f"--data={data}",
        f"--results={out / 'results.json'}",
        f"--out={export}",
    )
    newest = max(int(path.name) for path in export.glob("[0-9]*"))
    history = storage.PreparedData.open(data).vocabulary.items[:6].tolist()
    step(
        "8. The exported model ranks under two goals",
        "launch.recommend",
        f"--model={export / str(newest)}",
        f"--history={','.join(history)}",
        "--feedback=click=1,0,0,1,0,0;watch_seconds=9,0,0,21,0,0",
        "--goal=click",
        "--compare_goal=watch_seconds",
        "--k=5",
        "--show=click@0,watch_seconds@0,step@1..",
    )
    return newest


if __name__ == "__main__":
    flags.run(main)
