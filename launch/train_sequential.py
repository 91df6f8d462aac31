r"""Trains a sequential recommender and ranks it beside controls on held-out events.

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
from typing import Any, Literal

import rich

from launch import flags
from tfrec import outputs
from tfrec.data import item_categories, knowledge_graph, protocols, sequence_logs
from tfrec.data.sources import table as table_source
from tfrec.errors import UserError
from tfrec.evaluation import next_items, path_lists, rankers, rankings
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
flags.define_dependent("method", rankers.IN_EPOCHS, lambda name: rankers.IN_EPOCHS[name].config)


def main(_):
    config = flags.read(TrainSequentialConfig)
    outputs.check_folder(config.out)
    ranker = rankers.get(config.method)
    numbers = flags.read(ranker.config)
    _check_files(config, ranker)
    columns = flags.read(table_source.TableConfig, "columns_")
    log = sequence_logs.open_log(config.data, config.format, columns)
    split = protocols.PROTOCOLS[config.protocol](log.sequences)
    next_items.check_cutoffs(config.cutoffs, log.sequences.num_items)
    graph = _read_graph(config.graph, log) if ranker.walks_graph else None
    out = pathlib.Path(config.out)
    task = rankers.Task(
        split=split,
        protocol=config.protocol,
        vocabulary=log.vocabulary,
        source=log.source,
        folder=out,
        seed=config.seed,
        save_every=config.save_every,
        categories=lambda: _categories(config, log),
        features=log.features,
        graph=graph,
        warn=flags.warn,
    )
    trained = ranker.train(numbers, task)
    lists = trained.lists(split.test, max(config.cutoffs))
    trained.agent.save(out / "model")
    evaluations, left_out = rankings.evaluate_controls(split, config.cutoffs)
    for name, reason in left_out.items():
        flags.warn(f"{name} is left out: {reason}")
    evaluations[config.method] = next_items.evaluate_lists(
        lists.items, split.test, split.train, config.cutoffs
    )
    path_facts = _path_facts(config.graph, graph, lists.completed)
    facts = trained.agent.about | {"log": pathlib.Path(config.data).name}
    facts |= {"users": len(split.test.users), "items": log.sequences.num_items}
    facts |= {"events": len(log.sequences.items)} | path_facts
    table = rankings.write(out, evaluations, config.cutoffs, facts)
    rankings.write_curve(out, config.method)
    title = f"{config.protocol}: {rankings.CONDITIONS} (mean, 95% interval over users)"
    for k in config.cutoffs:
        columns_of_k = [f"{metric}@{k}" for metric in ("ndcg", "recall", "coverage")]
        rich.print(tables.rich_table(table, columns_of_k, title, "Ranker"))
    for name, value in path_facts.items():
        print(f"{name}: {value}")
    print(f"{out / 'rankings.md'}: {config.method}, best epoch {trained.best_epoch}")


def _check_files(config: TrainSequentialConfig, ranker: rankers.Ranker) -> None:
    """Rejects files that the method does not read, and absent files that it reads.

    Raises:
      UserError: naming the flag.
    """
    if config.categories and not ranker.reads_categories:
        raise UserError(
            f"--categories={config.categories}: {config.method} reads no categories; expected "
            "--method=cocorec"
        )
    if config.graph and not ranker.walks_graph:
        raise UserError(
            f"--graph={config.graph}: {config.method} reads no knowledge graph; expected "
            f"--method={', '.join(rankers.WALKING)}"
        )
    if ranker.walks_graph and not config.graph:
        raise UserError(
            f"--graph is not given; expected the knowledge graph that {config.method} walks"
        )


def _categories(
    config: TrainSequentialConfig, log: sequence_logs.SequenceLog
) -> item_categories.Categories | None:
    if config.categories:
        return item_categories.read(config.categories, log.vocabulary)
    return log.categories


def _read_graph(path: str, log: sequence_logs.SequenceLog) -> knowledge_graph.KnowledgeGraph:
    """Reads the knowledge graph, and warns of rows and items that it leaves out."""
    graph = knowledge_graph.read(path, log.vocabulary)
    items = log.sequences.num_items
    linked = graph.linked_items(items)
    if linked < items:
        flags.warn(f"{items - linked:,} of {items:,} items stand in no triple of the graph")
    if graph.loops:
        flags.warn(f"{graph.loops:,} rows of the graph are left out: head and tail are alike")
    return graph


def _path_facts(
    path: str,
    graph: knowledge_graph.KnowledgeGraph | None,
    completed: path_lists.Completed | None,
) -> dict[str, Any]:
    """Returns the lines of rankings.md for a method that walks a graph; else none."""
    if graph is None or completed is None:
        return {}
    return {
        "knowledge graph": pathlib.Path(path).name,
        "triples": f"{len(graph.triples):,}, of {len(graph.relations)} relations",
        "entities beside the items": f"{len(graph.entities):,}",
        "users whose list was completed without paths": f"{completed.users:.1%}",
        "places that were completed": f"{completed.places:.1%}",
    }


if __name__ == "__main__":
    flags.run(main)
