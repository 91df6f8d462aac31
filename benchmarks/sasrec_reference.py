"""RecTools' SASRec on the events of `sasrec_throughput`: the reference of the comparison.

    <python with rectools[torch]> benchmarks/sasrec_reference.py EVENTS.npz JOB.json TIMES.json

It runs in a separate interpreter and imports nothing of the project. EVENTS holds `user` and
`item`, each user's oldest event first. JOB is {"width", "blocks", "heads", "length", "batch",
"dropout", "learning_rate", "threads", "warm", "updates", "seed"}. TIMES gets the wall and CPU
seconds of the updates after the first `warm` ones, and their number of predicted events.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as lightning
import torch
from rectools.dataset import Dataset
from rectools.models import SASRecModel

# Shared by the copies of the trainer and its callbacks that RecTools makes.
TIMES: dict[str, Any] = {"events": 0}


def now():
    """Wall and CPU seconds."""
    return {"wall": time.perf_counter(), "cpu": time.process_time()}


class Clock(lightning.Callback):
    """Times the updates after the first `warm` ones, and counts their events."""

    def __init__(self, warm):
        self.warm, self.seen = warm, 0

    def on_train_batch_start(self, trainer, module, batch, index):
        if self.seen == self.warm:
            TIMES["start"] = now()
        if self.seen >= self.warm:
            TIMES["events"] += int((batch["y"] != 0).sum())

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.seen += 1
        TIMES["end"] = now()


def main(events_path, job_path, times_path):
    """Trains for some updates and writes the times."""
    with open(job_path) as file:
        job = json.load(file)
    torch.set_num_threads(job["threads"])
    lightning.seed_everything(job["seed"])
    with np.load(events_path) as events:
        frame = pd.DataFrame({"user_id": events["user"], "item_id": events["item"]})
    # The order of the rows as seconds, so that each user's events keep it.
    frame["datetime"] = pd.Timestamp("2000-01-01") + pd.to_timedelta(frame.index, unit="s")
    frame["weight"] = 1.0

    def trainer():
        return lightning.Trainer(
            max_epochs=1_000,
            max_steps=job["warm"] + job["updates"],
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Clock(job["warm"])],
        )

    model = SASRecModel(
        n_factors=job["width"],
        n_blocks=job["blocks"],
        n_heads=job["heads"],
        session_max_len=job["length"],
        batch_size=job["batch"],
        dropout_rate=job["dropout"],
        lr=job["learning_rate"],
        loss="softmax",
        dataloader_num_workers=0,
        get_trainer_func=trainer,
        verbose=0,
    )
    model.fit(Dataset.construct(frame))
    took = {name: TIMES["end"][name] - TIMES["start"][name] for name in ("wall", "cpu")}
    with open(times_path, "w") as file:
        json.dump({**took, "events": TIMES["events"]}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
