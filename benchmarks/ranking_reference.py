"""DeepCTR's WDL and DIEN on the rows of `ranking_auc`: the reference of the comparison.

    <python with deepctr> benchmarks/ranking_reference.py ROWS.npz JOBS.json SCORES.npz

It runs in a separate interpreter, because DeepCTR and this project need different versions of
TensorFlow, and therefore imports nothing of the project. For each job it trains one model and
writes the click probabilities of the validation and test rows after every epoch; `ranking_auc`
computes the AUC for both sides.

A job is {"name", "model": "wdl" or "dien", "seed", "epochs", "batch", "learning_rate",
"embedding", "layers", "l2", "dropout"}, for wdl also "crosses" (hash buckets) and
"events", for dien "auxiliary" (0 leaves the negative samples out).
"""

import json
import sys

import numpy as np
import tensorflow as tf
from deepctr.feature_column import DenseFeat, SparseFeat, VarLenSparseFeat, get_feature_names
from deepctr.models import DIEN, WDL

CLICKED = 2  # flag of a clicked history item; 1 is "shown, not clicked", 0 padding


def pooled(part):
    """Inputs of both models besides the sequences: counts, shares and the clicked items."""
    item, click = part["history_item"], part["history_click"]
    length = item.shape[1]
    is_event = (item > 0).astype(np.float32)
    recent = is_event * (np.arange(length) >= length - part["step"][:, None])

    def mean(value, weight):
        return (value * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1.0)

    liked = to_left(item, click > 0)

    return {
        "step": np.log1p(part["step"]).astype(np.float32),
        "known": is_event.mean(axis=1),
        "click_share": mean(click, is_event),
        "session_click_share": mean(click, recent),
        "liked_item": liked,
        "liked_length": (liked > 0).sum(axis=1).astype(np.int32),
    }


def to_left(value, selected):
    """Moves each row's selected values to its beginning, in order, and pads with 0; [L, H]."""
    order = np.argsort(~selected, axis=1, kind="stable")
    moved = np.take_along_axis(np.where(selected, value, 0), order, axis=1)
    return moved.astype(np.int32)


DENSE = ("step", "known", "click_share", "session_click_share")


def wdl_inputs(part, job):
    """The pooled state, the latest event, and the crosses of recent events with the item."""
    item, click = part["history_item"], part["history_click"]
    key = (2 * item + (click > 0))[:, -job["events"] :].astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = (key * np.uint64(1_000_003) + part["item"][:, None].astype(np.uint64)) * (
            np.uint64(0x9E3779B97F4A7C15)
        )
    cross = (mixed >> np.uint64(33)) % np.uint64(job["crosses"] - 1) + np.uint64(1)
    cross = np.where(item[:, -job["events"] :] > 0, cross, 0).astype(np.int32)
    last_flag = (1 + (click[:, -1] > 0)) * (item[:, -1] > 0)
    return pooled(part) | {
        "item": part["item"],
        "shown_item": to_left(item, item > 0),
        "shown_length": (item > 0).sum(axis=1).astype(np.int32),
        "last_item": item[:, -1],
        "last_flag": last_flag.astype(np.int32),
        "cross": cross,
    }


def dien_inputs(part, job):
    """Inputs of DIEN: left-aligned histories, each event with a random other item."""
    item = part["history_item"]
    is_event = item > 0
    flag = to_left(1 + (part["history_click"] > 0), is_event)
    other = np.random.default_rng(job["seed"]).integers(1, job["num_items"] + 1, item.shape)
    inputs = pooled(part) | {
        "item": part["item"],
        "flag": np.full(len(item), CLICKED, np.int32),
        "hist_item": to_left(item, is_event),
        "hist_flag": flag,
        "seq_length": is_event.sum(axis=1).astype(np.int32),
    }
    if job["auxiliary"]:
        inputs |= {"neg_hist_item": to_left(other, is_event), "neg_hist_flag": flag}
    return inputs


def columns(job, horizon):
    """Feature columns: those of the wide half and those of the network."""
    size, items = job["embedding"], job["num_items"] + 1

    def of_items(name):
        return SparseFeat(name, items, size, embedding_name="item")

    def pooled_items(name):
        feature = of_items(f"{name}_item")
        return VarLenSparseFeat(feature, horizon, length_name=f"{name}_length")

    dense = [DenseFeat(name, 1) for name in DENSE]
    if job["model"] == "wdl":
        cross = VarLenSparseFeat(
            SparseFeat("cross", job["crosses"], size), job["events"], combiner="sum"
        )
        deep = [of_items("item"), of_items("last_item"), SparseFeat("last_flag", 3, 4), *dense]
        deep += [pooled_items("shown"), pooled_items("liked")]
        return [of_items("item"), cross], deep
    flags = SparseFeat("flag", 3, 4)
    network = [of_items("item"), flags, *dense, pooled_items("liked")]
    for kind in ("", "neg_") if job["auxiliary"] else ("",):
        for feature in (of_items(f"{kind}hist_item"), flags._replace(name=f"{kind}hist_flag")):
            network.append(VarLenSparseFeat(feature, horizon, length_name="seq_length"))
    return None, network


def build(job, wide, network):
    """The compiled model."""
    common = {
        "dnn_hidden_units": tuple(job["layers"]),
        "dnn_dropout": job["dropout"],
        "l2_reg_embedding": job["l2"],
        "seed": job["seed"],
    }
    if job["model"] == "wdl":
        model = WDL(wide, network, l2_reg_linear=job["l2"], **common)
    else:
        model = DIEN(
            network,
            ["item", "flag"],
            gru_type="AUGRU",
            use_negsampling=bool(job["auxiliary"]),
            alpha=job["auxiliary"],
            att_hidden_units=(64, 16),
            **common,
        )
    model.compile(tf.keras.optimizers.legacy.Adam(job["learning_rate"]), "binary_crossentropy")
    return model


def train(job, parts, horizon):
    """Trains one model; returns click probabilities after each epoch, [epochs, rows]."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(job["seed"])
    wide, network = columns(job, horizon)
    model = build(job, wide, network)
    names = get_feature_names((wide or []) + network)
    inputs_of = wdl_inputs if job["model"] == "wdl" else dien_inputs
    inputs = {
        split: {name: value for name, value in inputs_of(part, job).items() if name in names}
        for split, part in parts.items()
    }
    scores: dict[str, list] = {"validation": [], "test": []}
    num_rows = len(parts["train"]["click"]) // job["batch"] * job["batch"]
    rng = np.random.default_rng(job["seed"])
    for _ in range(job["epochs"]):
        # Only whole batches: DIEN treats a last batch of one row as an empty batch.
        rows = rng.permutation(len(parts["train"]["click"]))[:num_rows]
        model.fit(
            {name: value[rows] for name, value in inputs["train"].items()},
            parts["train"]["click"][rows],
            batch_size=job["batch"],
            shuffle=False,
            verbose=0,
        )
        for split, predictions in scores.items():
            predictions.append(model.predict(inputs[split], batch_size=2048, verbose=0)[:, 0])
    return {split: np.stack(predictions) for split, predictions in scores.items()}


def main(rows_path, jobs_path, scores_path):
    """Runs all jobs."""
    # DeepCTR's recurrent cells are those of TensorFlow 1, which need graph execution.
    tf.compat.v1.disable_eager_execution()
    with np.load(rows_path) as file:
        rows = dict(file)
    parts = {
        split: {
            name.partition("/")[2]: value
            for name, value in rows.items()
            if name.startswith(f"{split}/")
        }
        for split in ("train", "validation", "test")
    }
    horizon = parts["train"]["history_item"].shape[1]
    with open(jobs_path) as file:
        jobs = json.load(file)
    results = {}
    for job in jobs:
        scores = train(job | {"num_items": int(rows["num_items"])}, parts, horizon)
        for split, value in scores.items():
            results[f"{job['name']}/{split}"] = value
    np.savez(scores_path, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
