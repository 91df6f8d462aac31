r"""Ranking quality of our PGPR beside hopwise's, on the same graph with the same tuning.

    python -m benchmarks.pgpr_quality --data=events.txt --graph=graph.csv \
        --reference_python=REFERENCE/bin/python

The protocol is `user_ratio`: the last fifth of each user's events is the test, the last tenth
of the others the validation. Both sides train translations of the graph and the training
events, then a policy with a beam search of 25, 5 and 1 edges; both keep the epochs that are
best for 200 random users by validation nDCG@10. Each side tries six settings with seed 0, and
all seeds run the best one by validation. The lists of both, completed by the embeddings' score
where too few items have a path, are compared with the held-out events by the same code.

The named interpreter must import hopwise 0.9 (see `pgpr_reference.py`), whose reward depends
on the names of relations: the graph is that of its MovieLens-100K. README.md says how to write
both files. Without an interpreter, only ours. Printed: nDCG@10 and recall@20, mean and standard
deviation over seeds, and the paired difference with its 95% interval over users and seeds.
"""

from typing import Any, NamedTuple

import numpy as np

from benchmarks import timing, tuned_ranking
from benchmarks.tuned_ranking import Trainer
from tfrec.data import knowledge_graph, protocols, sequence_logs, sequences
from tfrec.evaluation import next_items

_CHECKED_SEED = 0
OUR_SETTINGS: tuple[dict[str, Any], ...] = tuple(
    {"embedding_rate": embedding, "learning_rate": policy}
    for embedding in (0.01, 0.03, 0.1)
    for policy in (3e-4, 1e-3)
)
REFERENCE_SETTINGS: tuple[dict[str, Any], ...] = tuple(
    {"embedding_rate": embedding, "learning_rate": policy}
    for embedding in (1e-3, 3e-3, 1e-2)
    for policy in (1e-4, 1e-3)
)


class Budget(NamedTuple):
    """What both sides share.

    Attributes:
      width: width of the embeddings.
      embedding_epochs: passes over the edges.
      epochs: passes over the users that train the policy.
      validate_every: epochs between validations.
      checked: users of a validation.
    """

    width: int = 100
    embedding_epochs: int = 30
    epochs: int = 20
    validate_every: int = 5
    checked: int = 200


def ours(
    log: sequence_logs.SequenceLog,
    graph: knowledge_graph.KnowledgeGraph,
    split: protocols.Split,
    budget: Budget,
) -> Trainer:
    """Makes the trainer of our PGPR."""
    common = {
        "width": budget.width,
        "embedding_epochs": budget.embedding_epochs,
        "epochs": budget.epochs,
        "patience": budget.epochs,
        "validate_every": budget.validate_every,
        "validation_users": budget.checked,
    }
    return tuned_ranking.ours("pgpr_kg", log, split, "user_ratio", common, graph)


def pairs(users: np.ndarray, events: sequences.Sequences) -> np.ndarray:
    """User and item of each event, int [E, 2].

    Args:
      users: user of each row.
      events: the rows.
    """
    return np.stack([np.repeat(users, events.lengths), events.items], axis=1)


def reference(
    python: str,
    graph: knowledge_graph.KnowledgeGraph,
    split: protocols.Split,
    budget: Budget,
) -> Trainer:
    """Makes the trainer of hopwise's PGPR, which runs in a separate process.

    Args:
      python: an interpreter that imports hopwise.
      graph: of the items.
      split: events of the log.
      budget: what both sides share.
    """
    checked = protocols.drawn_users(split.validation, budget.checked, _CHECKED_SEED)
    arrays = {
        "train": pairs(np.arange(len(split.train)), split.train),
        "triples": graph.triples,
        "relations": graph.relations.astype(str),
    }
    held_out = {"validation": split.validation, "checked": checked, "test": split.test}
    arrays |= {name: pairs(part.users, part.targets) for name, part in held_out.items()}
    return tuned_ranking.in_another_interpreter(
        python, "pgpr_reference.py", arrays, budget._asdict()
    )


def main(
    data: str,
    graph: str,
    form: sequence_logs.Format = "rows",
    reference_python: str = "",
    seeds: int = 3,
    budget: Budget | None = None,
) -> dict[str, list[next_items.Evaluation]]:
    """Compares both sides; see the module's docstring.

    Args:
      data: the log.
      graph: the knowledge graph.
      form: format of the log.
      reference_python: an interpreter that imports hopwise; empty for only ours.
      seeds: runs of the best setting.
      budget: what both sides share.
    """
    budget = budget or Budget()
    log = sequence_logs.open_log(data, form)
    split = protocols.user_ratio(log.sequences)
    knowledge = knowledge_graph.read(graph, log.vocabulary)
    print(
        f"{len(split.test.users):,} test users, {log.sequences.num_items:,} items, "
        f"{len(knowledge.triples):,} triples"
    )
    trainers = {"ours": (ours(log, knowledge, split, budget), OUR_SETTINGS)}
    if reference_python:
        side = reference(reference_python, knowledge, split, budget)
        trainers["hopwise"] = (side, REFERENCE_SETTINGS)
    return tuned_ranking.compare(trainers, split, seeds)


if __name__ == "__main__":
    timing.one_thread()
    parser = tuned_ranking.parser(__doc__, "rows")
    parser.add_argument("--graph", required=True)
    main(**vars(parser.parse_args()))
