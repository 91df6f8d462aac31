"""Trains a sequential recommender and ranks it beside controls on held-out events.

    python -m launch.train_sequential --method=sasrec --data=ml-1m.txt --format=rows \
        --protocol=leave_one_out --out=runs/sasrec

`--method=sasrec --help` lists SASRec's own flags too; other methods are `hstu`, `stamp`,
`causerec`, `casr_stamp`, `casr_sasrec` and `cocorec`.

The folder gets `model/` with the best epoch's weights, rankings.md, .csv, .json and .png,
curve.png, and the run's metrics, TensorBoard logs and checkpoints; a folder with a run goes on
with it.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal

import rich

from launch import flags
from tfrec import outputs
from tfrec.baselines.sequential import fitting, learner, methods, trained
from tfrec.data import item_categories, protocols, sequence_logs
from tfrec.data.sources import table as table_source
from tfrec.errors import UserError
from tfrec.evaluation import next_items, rankings
from tfrec.options import MAX_SEED, Options, option, required
from tfrec.report import tables


@dataclasses.dataclass(frozen=True)
class TrainSequentialConfig(Options):
    """What learns, from what, and how it is tested."""

    method: Literal[
        "sasrec", "hstu", "stamp", "causerec", "casr_stamp", "casr_sasrec", "cocorec"
    ] = required("what learns")
    data: str = required("the log: a text file, or a folder of prepared data")
    out: str = required("folder of the run; one that is there goes on")
    format: Literal["rows", "lines", "table", "prepared"] = option(
        "rows",
        "rows: `user item`, an event a line; lines: `user item item ...`, a user a line; "
        "table: one's own log with times, see --columns_user and so on; prepared: a folder of "
        "launch.prepare_data",
    )
    protocol: Literal["leave_one_out", "user_ratio", "global_time"] = option(
        "leave_one_out",
        "held-out events. leave_one_out: each user's last; user_ratio: each user's last 20%; "
        "global_time: the last tenth of all events by time",
    )
    cutoffs: tuple[int, ...] = option(
        (10, 20), "lengths of the list", at_least=1, distinct=True, min_length=1
    )
    categories: str = option(
        "",
        "for methods that read categories: a .json file, item -> category or list of "
        "categories (the first counts), or a .csv or .tsv file with columns item and category; "
        "by default those of the log, else clusters of item vectors",
    )
    seed: int = option(
        0, "seed of weights, batches and negatives", at_least=0, at_most=MAX_SEED
    )
    save_every: int = option(1, "epochs between checkpoints", at_least=1)


flags.define(TrainSequentialConfig)
flags.define(table_source.TableConfig, "columns_")
flags.define_chosen("method", methods.METHODS, lambda name: methods.METHODS[name]().config)


def main(_):
    config = flags.read(TrainSequentialConfig)
    outputs.check_folder(config.out)
    parts = methods.METHODS[config.method]()
    numbers = flags.read(parts.config)
    if config.categories and not parts.categories:
        raise UserError(
            f"--categories={config.categories}: {config.method} reads no categories; expected "
            "--method=cocorec"
        )
    columns = flags.read(table_source.TableConfig, "columns_")
    log = sequence_logs.open_log(config.data, config.format, columns)
    split = protocols.PROTOCOLS[config.protocol](log.sequences)
    next_items.check_cutoffs(config.cutoffs, log.sequences.num_items)
    known = log.categories
    if config.categories:
        known = item_categories.read(config.categories, log.vocabulary)
    fitted = fitting.fit(
        config.method,
        numbers,
        split.train,
        lambda model: next_items.ndcg_at_10(model, split.validation),
        config.out,
        config.seed,
        source=log.source,
        protocol=config.protocol,
        categories=known,
        save_every=config.save_every,
        warn=flags.warn,
    )
    about = {
        "protocol": config.protocol,
        "data": log.source.fingerprint,
        "seed": config.seed,
        "best_epoch": int(fitted.best_epoch),
        learner.VALIDATION: float(fitted.best_score),
    }
    out = pathlib.Path(config.out)
    saved = trained.TrainedSequence(config.method, fitted.model, log.vocabulary, about)
    saved.save(out / "model")
    evaluations, left_out = rankings.evaluate_controls(split, config.cutoffs)
    for name, reason in left_out.items():
        flags.warn(f"{name} is left out: {reason}")
    evaluations[config.method] = next_items.evaluate(
        fitted.model, split.test, split.train, config.cutoffs
    )
    facts = about | {"log": pathlib.Path(config.data).name, "users": len(split.test.users)}
    facts |= {"items": log.sequences.num_items, "events": len(log.sequences.items)}
    table = rankings.write(out, evaluations, config.cutoffs, facts)
    rankings.write_curve(out, config.method)
    title = f"{config.protocol}: {rankings.CONDITIONS} (mean, 95% interval over users)"
    for k in config.cutoffs:
        shown = [f"{metric}@{k}" for metric in ("ndcg", "recall", "coverage")]
        rich.print(tables.rich_table(table, shown, title, "Ranker"))
    print(f"{out / 'rankings.md'}: {config.method}, best epoch {int(fitted.best_epoch)}")


if __name__ == "__main__":
    flags.run(main)
