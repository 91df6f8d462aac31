r"""Compares sequential recommenders and reinforcement learning on held-out events of a log.

    python -m launch.prepare_data --source=movielens --path=ml-20m.zip --k_core=10 \
        --max_steps=1000 --max_sessions_per_user=0 --test_fraction=0 --validation_fraction=0 \
        --out=runs/ml/data
    python -m launch.compare_offline --data=runs/ml/data --out=runs/ml/offline \
        --methods=sasrec,stamp,imrl --seeds=3

Each method learns from the training events and ranks the test events of every user: the last
20% of the user's events by default. With `--trials` each method is first tuned on validation
events. Methods of reinforcement learning play with users of the training events (`--world`).
The folder gets a folder for each method and seed, which an interrupted run continues, and
table.md, .csv, .json and .png with popularity, item-kNN and EASE beside the methods.
"""

import dataclasses
import pathlib

import rich

import tfimrl  # noqa: F401  registers IMRL
import tfrec.baselines  # noqa: F401  registers the baselines
from launch import flags
from launch.experiments import offline_settings
from tfrec import outputs
from tfrec.evaluation import rankers
from tfrec.options import Options, option, required

_ONLINE = ("deers", "kgrl", "tpgr", "pgpr", "imrl")
_WALKING = ", ".join(rankers.WALKING)
_SEQUENTIAL = ("sasrec", "stamp", "casr_stamp", "causerec", "cocorec")


@dataclasses.dataclass(frozen=True)
class CompareOfflineConfig(Options):
    """The log, the methods and the seeds."""

    data: str = required(
        "folder of prepared data with all events of all users: prepare with --max_steps above "
        "the longest session, --max_sessions_per_user=0, --test_fraction=0 and "
        "--validation_fraction=0"
    )
    out: str = required(
        "folder of the runs and of the table; unfinished runs in it are continued"
    )
    methods: tuple[str, ...] = option(
        (*_SEQUENTIAL, *_ONLINE),
        f"sequential methods ({', '.join(rankers.SEQUENTIAL)}), one of them without a part "
        f"({', '.join(rankers.ABLATIONS)}), {_WALKING}, which "
        "walks the knowledge graph of --graph, and methods that learn step by step in the "
        "environment `users` (docs/methods.md)",
        distinct=True,
        min_length=1,
    )
    seeds: int = option(3, "number of seeds of each method", at_least=1)
    trials: int = option(
        0,
        "settings tried for each method on validation events, the defaults among them; 0 keeps "
        "the defaults",
        at_least=0,
    )
    fixed: tuple[str, ...] = option(
        (),
        "fields of the methods, `discount=0.5,learning_rate=0.003`, for the methods that have "
        "them and whose name does not fix them; tuning does not try them",
    )
    categories: str = option(
        "",
        "for methods that read categories: a file of them as for launch.train_sequential; by "
        "default those of the log, else clusters of item vectors",
    )
    graph: str = option(
        "",
        f"for {_WALKING}: the knowledge graph, a file or a folder as for "
        "launch.train_sequential",
    )

    def __post_init__(self):
        super().__post_init__()
        if bool(self.graph) != any(name in rankers.WALKING for name in self.methods):
            raise ValueError(
                f"graph is {self.graph!r} and methods are {', '.join(self.methods)}; expected "
                f"a knowledge graph with {_WALKING}, and none without it"
            )
        if self.categories and not any(rankers.get(x).reads_categories for x in self.methods):
            raise ValueError(
                f"categories is {self.categories!r} and methods are "
                f"{', '.join(self.methods)}; expected a method that reads them, such as cocorec"
            )


flags.define(CompareOfflineConfig)
flags.define(offline_settings.OfflineConfig)


def main(_):
    # These import TensorFlow, which --help does not need.
    from launch.experiments import offline_cells
    from tfrec.data import knowledge_graph, protocols, sequences, storage
    from tfrec.evaluation import next_items, offline_report, rankings
    from tfrec.report import tables

    config = flags.read(CompareOfflineConfig)
    settings = flags.read(offline_settings.OfflineConfig)
    outputs.check_folder(config.out)
    classes = [rankers.get(method).config for method in config.methods]
    fixed = dict(
        zip(config.methods, flags.assigned("fixed", classes, config.fixed), strict=True)
    )
    data = storage.PreparedData.open(config.data)
    log = sequences.of_prepared(data)
    next_items.check_cutoffs((settings.cutoff,), log.num_items)
    split = protocols.PROTOCOLS[settings.protocol](log)
    graph = knowledge_graph.read(config.graph, data.vocabulary) if config.graph else None
    comparison = offline_cells.Comparison(
        pathlib.Path(config.out),
        data,
        split,
        settings,
        fixed={method: fields for method, fields in fixed.items() if fields},
        graph=graph,
        categories=config.categories,
    )
    offline_cells.check_same(comparison)
    controls, left_out = rankings.evaluate_controls(split, (settings.cutoff,))
    for name, reason in left_out.items():
        flags.warn(f"{name} is left out: {reason}")
    evaluations = {name: [evaluation] for name, evaluation in controls.items()}
    for method in config.methods:
        if config.trials and not offline_cells.is_tuned(comparison, method, config.trials):
            offline_cells.tune(comparison, method, config.trials)
        tuned = offline_cells.tuned_fields(comparison, method) if config.trials else {}
        evaluations[method] = [
            offline_cells.run(comparison, method, seed, tuned) for seed in range(config.seeds)
        ]
    if any(rankers.get(method).plays for method in config.methods):
        for name, evaluation in offline_cells.evaluate_users_of_play(comparison).items():
            evaluations[name] = [evaluation]
    about = {
        "log": data.manifest["source"],
        "protocol": settings.protocol,
        "users": len(split.test.users),
        "items": log.num_items,
        "seeds": config.seeds,
        "settings tried for each method": config.trials or "none: the defaults",
        "users of reinforcement learning": settings.world,
    } | ({"fixed": ", ".join(config.fixed)} if config.fixed else {})
    table = offline_report.write(comparison.out, evaluations, settings.cutoff, about)
    columns = [f"{metric}@{settings.cutoff}" for metric in ("recall", "precision", "ndcg")]
    title = f"{settings.protocol}: {rankings.CONDITIONS} (mean, 95% interval over users)"
    rich.print(tables.rich_table(table, columns, title, "Method"))
    print(f"{comparison.out / 'table.md'}: {len(evaluations)} rows, {config.seeds} seeds")


if __name__ == "__main__":
    flags.run(main)
