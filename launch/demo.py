"""Runs the whole chain on the embedded log: data, users, training, evaluation, export, lists.

    python -m launch.demo --out=runs/demo

Each step is one of the other scripts, run with the flags that are printed. GoalRec-off
learns from the log alone. GoalRec and Rainbow then also play, with the same number of sessions
and updates: with the embedded truth, which stands for live users, or with users fitted on the
log (--play_in=fitted). All are evaluated in both.
"""

import dataclasses
import pathlib
import shlex
import time
from typing import Literal

import rich

from launch import flags
from tfrec import outputs
from tfrec.data import storage
from tfrec.errors import UserError
from tfrec.options import Options, option


@dataclasses.dataclass(frozen=True)
class DemoConfig(Options):
    """How much of everything."""

    out: str = option(
        "runs/demo", "folder for all results; it must not exist yet, or be a demo's"
    )
    users: int = option(6000, "users in the embedded log", at_least=1)
    seeds: int = option(3, "seeds of GoalRec and of Rainbow", at_least=1)
    epochs: int = option(12, "passes over the log when fitting users, at most", at_least=1)
    log_rounds: int = option(16, "rounds of learning from the log", at_least=1)
    play_rounds: int = option(30, "rounds of play and learning", at_least=1)
    updates_per_round: int = option(60, "updates in a round", at_least=1)
    play_in: Literal["truth", "fitted"] = option(
        "truth", "environment of play: the embedded truth, or the users fitted on the log"
    )


flags.define(DemoConfig)


def main(_):
    config = flags.read(DemoConfig)
    outputs.check_folder(config.out)
    out = pathlib.Path(config.out)
    began = time.monotonic()
    data, users, export = out / "data", out / "simulator", out / "export"

    def step(title: str, script: str, *arguments: str) -> None:
        seconds = time.monotonic() - began
        rich.print(f"\n[bold]{title}[/] ({seconds:.0f} s)")
        print(f"python -m {script} {shlex.join(arguments)}", flush=True)  # one line, to copy
        code = flags.call(script, arguments)
        if code:
            raise UserError(f"{script} ended with exit code {code}; see its message above")

    step(
        "1. A log becomes sessions",
        "launch.prepare_data",
        "--source=embedded",
        f"--out={data}",
        "--overwrite",
        f"--embedded_num_users={config.users}",
        "--max_steps=30",
        "--history_length=20",
    )
    step(
        "2. Simulated users learn to answer like the log's",
        "launch.fit_simulator",
        f"--data={data}",
        f"--out={users}",
        f"--max_epochs={config.epochs}",
        "--overwrite",
    )
    budget = (
        f"--data={data}",
        f"--world={'truth' if config.play_in == 'truth' else users}",
        f"--log_rounds={config.log_rounds}",
        f"--play_rounds={config.play_rounds}",
        f"--updates_per_round={config.updates_per_round}",
    )
    runs = [out / f"goalrec-seed{seed}" for seed in range(config.seeds)]
    for seed, run in enumerate(runs):
        step(
            f"3. GoalRec learns from the log, then by playing; seed {seed}",
            "launch.train",
            "--method=goalrec",
            *budget,
            f"--out={run}",
            f"--seed={seed}",
        )
    rainbow_runs = [out / f"rainbow-seed{seed}" for seed in range(config.seeds)]
    for seed, run in enumerate(rainbow_runs):
        step(
            f"4. Rainbow learns with the same budget; seed {seed}",
            "launch.train",
            "--method=rainbow",
            *budget,
            f"--out={run}",
            f"--seed={seed}",
        )
    agents = ",".join(
        f"{name}={run / folder}"
        for name, folder, method_runs in (
            ("goalrec_off", "agent_off", runs),
            ("goalrec", "agent", runs),
            ("rainbow", "agent", rainbow_runs),
        )
        for run in method_runs
    )
    for title, world, place in (
        ("5. Evaluated on the fitted users", str(users), out / "fitted"),
        ("6. Evaluated on the truth", "truth", out),
    ):
        step(
            title,
            "launch.evaluate",
            f"--data={data}",
            f"--world={world}",
            f"--agents={agents}",
            f"--out={place}",
            "--max_users=1200",
        )
    step(
        "7. Exported for serving",
        "launch.export_model",
        f"--agent={runs[0] / 'agent'}",
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
    rich.print(
        f"\nDone in {time.monotonic() - began:.0f} s. Everything lies in [bold]{out}[/]:\n"
        "  results.json, report.html   the table above, with intervals and plots\n"
        "  fitted/report.html          the same, evaluated with the fitted users\n"
        "  simulator/simulator.md      how true the fitted users are to the log\n"
        "  goalrec-seed*/              agents, checkpoints, metrics\n"
        "  rainbow-seed*/              the same of Rainbow\n"
        f"  export/{newest}/                   the model for serving, with its model card\n"
        f"  tensorboard --logdir={out}  the runs' curves"
    )


if __name__ == "__main__":
    flags.run(main)
