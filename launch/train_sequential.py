"""Trains a sequential recommender and ranks it beside controls on held-out events.

    python -m launch.train_sequential --method=sasrec --data=ml-1m.txt --format=rows \
        --protocol=leave_one_out --out=runs/sasrec

`--method=sasrec --help` also lists the flags of SASRec; other methods are `hstu`, `stamp`,
`causerec`, `casr_stamp`, `casr_sasrec` and `cocorec`. `pgpr_kg` does not read the order of
events: it walks the knowledge graph of `--graph` from a user to items.

The folder gets `model/` with the best epoch's weights, rankings.md, .csv, .json and .png,
curve.png, and the run's metrics, TensorBoard logs and checkpoints; an unfinished run in it is
continued.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Literal, NamedTuple

import rich

from launch import flags
from tfrec import outputs
from tfrec.baselines.paths import config as paths_config
from tfrec.baselines.paths import learner as path_learner
from tfrec.baselines.paths import trained as path_agents
from tfrec.baselines.paths import walking_graph
from tfrec.baselines.sequential import fitting, learner, methods
from tfrec.baselines.sequential import trained as sequence_agents
from tfrec.data import item_categories, knowledge_graph, protocols, sequence_logs
from tfrec.data.sources import table as table_source
from tfrec.errors import UserError
from tfrec.evaluation import next_items, path_lists, rankings
from tfrec.methods import trained as saved_agents
from tfrec.options import MAX_SEED, Options, option, required
from tfrec.report import tables


@dataclasses.dataclass(frozen=True)
class TrainSequentialConfig(Options):
    """The method, the log, the run and the test."""

    method: Literal[
        "sasrec",
        "hstu",
        "stamp",
        "causerec",
        "casr_stamp",
        "casr_sasrec",
        "cocorec",
        "pgpr_kg",
    ] = required("the method")
    data: str = required("the log: a text file, or a folder of prepared data")
    out: str = required("folder of the run; an unfinished run in it is continued")
    format: Literal["rows", "lines", "table", "prepared"] = option(
        "rows",
        "rows: `user item`, an event a line; lines: `user item item ...`, a user a line; "
        "table: a log with times, see --columns_user and so on; prepared: a folder of "
        "launch.prepare_data",
    )
    protocol: Literal["leave_one_out", "user_ratio", "global_time"] = option(
        "leave_one_out",
        "held-out events. leave_one_out: each user's last; user_ratio: each user's last 20%; "
        "global_time: the last tenth of all events by time",
    )
    cutoffs: tuple[int, ...] = option(
        (10, 20), "lengths of the lists", at_least=1, distinct=True, min_length=1
    )
    categories: str = option(
        "",
        "for methods that read categories: a .json file, item -> category or list of "
        "categories (the first counts), or a .csv or .tsv file with columns item and category; "
        "by default those of the log, else clusters of item vectors",
    )
    graph: str = option(
        "",
        "for pgpr_kg: the knowledge graph, a .csv, .tsv or .parquet file with the columns "
        "head, relation and tail, in which items have their ids of the log; or a folder with a "
        "file RELATION.edgelist of lines `head tail` for each relation",
    )
    seed: int = option(
        0, "seed of weights, batches and negatives", at_least=0, at_most=MAX_SEED
    )
    save_every: int = option(1, "epochs between checkpoints", at_least=1)


flags.define(TrainSequentialConfig)
flags.define(table_source.TableConfig, "columns_")
flags.define_dependent("method", methods.METHODS, lambda name: methods.METHODS[name]().config)
flags.define_dependent("method", paths_config.CONFIGS, lambda name: paths_config.CONFIGS[name])


class Trained(NamedTuple):
    """A finished run.

    Attributes:
      agent: the saved agent, with the facts about it.
      best_epoch: epoch of the agent's weights.
      evaluation: evaluation on the test events.
      facts: lines of rankings.md for this method alone.
    """

    agent: saved_agents.SavedAgent
    best_epoch: int
    evaluation: next_items.Evaluation
    facts: dict[str, Any]


def main(_):
    config = flags.read(TrainSequentialConfig)
    outputs.check_folder(config.out)
    path_config = paths_config.CONFIGS.get(config.method)
    numbers = flags.read(path_config or methods.METHODS[config.method]().config)
    _check_files(config)
    columns = flags.read(table_source.TableConfig, "columns_")
    log = sequence_logs.open_log(config.data, config.format, columns)
    split = protocols.PROTOCOLS[config.protocol](log.sequences)
    next_items.check_cutoffs(config.cutoffs, log.sequences.num_items)
    train = _train_paths if config.method == paths_config.METHOD else _train_sequence
    trained = train(config, numbers, log, split)
    out = pathlib.Path(config.out)
    trained.agent.save(out / "model")
    evaluations, left_out = rankings.evaluate_controls(split, config.cutoffs)
    for name, reason in left_out.items():
        flags.warn(f"{name} is left out: {reason}")
    evaluations[config.method] = trained.evaluation
    facts = trained.agent.about | {"log": pathlib.Path(config.data).name}
    facts |= {"users": len(split.test.users), "items": log.sequences.num_items}
    facts |= {"events": len(log.sequences.items)} | trained.facts
    table = rankings.write(out, evaluations, config.cutoffs, facts)
    rankings.write_curve(out, config.method)
    title = f"{config.protocol}: {rankings.CONDITIONS} (mean, 95% interval over users)"
    for k in config.cutoffs:
        columns_of_k = [f"{metric}@{k}" for metric in ("ndcg", "recall", "coverage")]
        rich.print(tables.rich_table(table, columns_of_k, title, "Ranker"))
    for name, value in trained.facts.items():
        print(f"{name}: {value}")
    print(f"{out / 'rankings.md'}: {config.method}, best epoch {trained.best_epoch}")


def _check_files(config: TrainSequentialConfig) -> None:
    """Rejects files that the method does not read, and absent files that it reads.

    Raises:
      UserError: naming the flag.
    """
    if config.categories and (
        config.method == paths_config.METHOD or not methods.METHODS[config.method]().categories
    ):
        raise UserError(
            f"--categories={config.categories}: {config.method} reads no categories; expected "
            "--method=cocorec"
        )
    if config.graph and config.method != paths_config.METHOD:
        raise UserError(
            f"--graph={config.graph}: {config.method} reads no knowledge graph; expected "
            f"--method={paths_config.METHOD}"
        )
    if config.method == paths_config.METHOD and not config.graph:
        raise UserError(
            "--graph is not given; expected the knowledge graph that "
            f"{paths_config.METHOD} walks"
        )


def _train_sequence(
    config: TrainSequentialConfig,
    numbers: Any,
    log: sequence_logs.SequenceLog,
    split: protocols.Split,
) -> Trained:
    categories = log.categories
    if config.categories:
        categories = item_categories.read(config.categories, log.vocabulary)
    fitted = fitting.fit(
        config.method,
        numbers,
        split.train,
        lambda model: next_items.ndcg_at_10(model, split.validation),
        config.out,
        config.seed,
        source=log.source,
        protocol=config.protocol,
        categories=categories,
        save_every=config.save_every,
        warn=flags.warn,
    )
    agent = sequence_agents.TrainedSequence(
        config.method, fitted.model, log.vocabulary, _about(config, log, fitted)
    )
    evaluation = next_items.evaluate(fitted.model, split.test, split.train, config.cutoffs)
    return Trained(agent, int(fitted.best_epoch), evaluation, {})


def _train_paths(
    config: TrainSequentialConfig,
    numbers: Any,
    log: sequence_logs.SequenceLog,
    split: protocols.Split,
) -> Trained:
    graph = knowledge_graph.read(config.graph, log.vocabulary)
    items = log.sequences.num_items
    linked = graph.linked_items(items)
    if linked < items:
        flags.warn(f"{items - linked:,} of {items:,} items stand in no triple of the graph")
    if graph.loops:
        flags.warn(f"{graph.loops:,} rows of the graph are left out: head and tail are alike")
    fitted = path_learner.fit(
        numbers,
        walking_graph.joined(split.train, graph),
        path_lists.validation(split.validation, numbers.validation_users, config.seed),
        config.out,
        config.seed,
        config.save_every,
        inputs={"log": log.source, "graph": graph.source},
        extra={"method": config.method, "protocol": config.protocol},
    )
    agent = path_agents.PathAgent(
        fitted.model,
        log.vocabulary,
        path_agents.Names(graph.entities, graph.relations),
        _about(config, log, fitted) | {"graph": graph.source.fingerprint},
    )
    evaluation, completed = path_lists.evaluate(fitted.model, split, config.cutoffs)
    facts = {
        "knowledge graph": pathlib.Path(config.graph).name,
        "triples": f"{len(graph.triples):,}, of {len(graph.relations)} relations",
        "entities beside the items": f"{len(graph.entities):,}",
        "users whose list was completed without paths": f"{completed.users:.1%}",
        "places that were completed": f"{completed.places:.1%}",
    }
    return Trained(agent, int(fitted.best_epoch), evaluation, facts)


def _about(
    config: TrainSequentialConfig, log: sequence_logs.SequenceLog, fitted: Any
) -> dict[str, Any]:
    """Returns the facts about its training that a saved model records."""
    return {
        "protocol": config.protocol,
        "data": log.source.fingerprint,
        "seed": config.seed,
        "best_epoch": int(fitted.best_epoch),
        learner.VALIDATION: float(fitted.best_score),
    }


if __name__ == "__main__":
    flags.run(main)
