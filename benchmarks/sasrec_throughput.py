r"""Training throughput of our SASRec beside RecTools' torch SASRec, at equal sizes in one run.

    python -m benchmarks.sasrec_throughput --data=ml-1m.txt \
        --reference_python=REFERENCE/bin/python

Both train with the softmax over the catalogue, Adam, and the same users, width, blocks, length
and batch. An event is one prediction of a next item, without padding. The named interpreter
must import rectools with torch (see `sasrec_reference.py`); without it, only ours is timed. The
sides alternate, and the median repetition of each is reported.
"""

import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import command_line
from tfrec.baselines.sequential import batches, learner, sasrec
from tfrec.data import protocols, sequence_logs, sequences
from tfrec.training import memory

JOB = {
    "width": 64, "blocks": 2, "heads": 1, "length": 200, "batch": 128, "dropout": 0.1,
    "learning_rate": 1e-3, "warm": 2, "updates": 6, "seed": 0,
}  # fmt: skip


class Ours:
    """Our model and its training batches.

    Args:
      train: training events.
      job: sizes and counts, as `JOB`.
    """

    def __init__(self, train: sequences.Sequences, job: dict[str, Any]):
        memory.keep_freed()
        names = ("width", "blocks", "heads", "length", "batch", "dropout", "learning_rate")
        config = sasrec.SasrecConfig(
            **{name: job[name] for name in names}, inner=job["width"], loss="softmax"
        )
        model = sasrec.Sasrec(config, train.num_items, job["seed"])
        self._learner = learner.SequenceLearner(model, train, lambda _: 0.0, job["seed"])
        self._train, self._job, self._epoch = train, job, 0

    def run(self) -> dict[str, float]:
        """Wall and CPU seconds of updates after warm-up updates, and their number of events."""
        job, events = self._job, 0
        prepared_batches = iter(self._batches())
        for _ in range(job["warm"]):
            self._learner.update(next(prepared_batches))[0].numpy()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(job["updates"]):
            batch = next(prepared_batches)
            events += len(batch.target)
            self._learner.update(batch)[0].numpy()
        return {
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
            "events": events,
        }

    def _batches(self):
        while True:
            self._epoch += 1
            yield from batches.epoch(
                self._train,
                self._job["batch"],
                self._job["length"],
                "last",
                self._job["seed"],
                self._epoch,
            )


def reference(python: str, train: sequences.Sequences, job: dict[str, Any]) -> dict[str, float]:
    """Wall and CPU seconds and events of the reference, in a separate process.

    Args:
      python: an interpreter that imports rectools with torch.
      train: training events.
      job: as for `Ours`, with `threads`.
    """
    script = pathlib.Path(__file__).with_name("sasrec_reference.py")
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder) / f for f in ("events.npz", "job.json", "times.json")]
        np.savez(paths[0], user=train.rows, item=train.items)
        paths[1].write_text(json.dumps(job))
        environment = os.environ | {"OMP_NUM_THREADS": str(job["threads"])}
        subprocess.run([python, script, *paths], check=True, env=environment)
        return json.loads(paths[2].read_text())


def main(
    data: str,
    form: sequence_logs.Format = "rows",
    reference_python: str = "",
    rounds: int = 3,
    threads: int = 1,
    **sizes: Any,
) -> dict[str, list[dict[str, float]]]:
    """Times both sides; see the module's docstring.

    Args:
      data: the log.
      form: format of the log.
      reference_python: an interpreter that imports rectools; empty for only ours.
      rounds: repetitions of each side.
      threads: threads of each side.
      **sizes: sizes that replace those of `JOB`.

    Returns:
      Side -> wall, cpu and events of each repetition; prints events per second and the ratio.
    """
    job = JOB | sizes | {"threads": threads}
    log = sequence_logs.open_log(data, form).sequences
    train = protocols.leave_one_out(log).train
    ours = Ours(train, job)
    timings: dict[str, list[dict[str, float]]] = {"ours": []}
    for _ in range(rounds):
        timings["ours"].append(ours.run())
        if reference_python:
            timings.setdefault("rectools", []).append(reference(reference_python, train, job))
    rates = {
        (name, clock): statistics.median(r["events"] / r[clock] for r in results)
        for name, results in timings.items()
        for clock in ("wall", "cpu")
    }
    print(
        f"{'':10}{'events/s':>12}{'per CPU second':>18}   ({rounds} rounds, {threads} threads)"
    )
    for name in timings:
        print(f"{name:10}{rates[name, 'wall']:12,.0f}{rates[name, 'cpu']:18,.0f}")
    if reference_python:
        ratio = {c: rates["ours", c] / rates["rectools", c] for c in ("wall", "cpu")}
        print(f"ratio {ratio['wall']:.2f}, by CPU seconds {ratio['cpu']:.2f}")
    return timings


if __name__ == "__main__":
    parser = command_line.parser(__doc__)
    parser.add_argument("--data", type=command_line.file, required=True)
    parser.add_argument("--form", default="rows")
    parser.add_argument("--reference_python", default="")
    parser.add_argument("--rounds", type=command_line.at_least(1), default=3)
    parser.add_argument("--threads", type=command_line.at_least(1), default=1)
    arguments = vars(parser.parse_args())
    tf.config.threading.set_intra_op_parallelism_threads(arguments["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(1)
    main(**arguments)
