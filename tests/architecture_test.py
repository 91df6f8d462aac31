"""Rules on imports, flags, Keras and file access, checked on the sources.

The arrows: launch, benchmarks -> tfgoalrec, tfimrl -> tfrec, and within tfrec the table
`WITHIN_TFREC`. A rule that is broken names the file and the line.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("tfrec", "tfgoalrec", "tfimrl", "launch", "benchmarks")

# Package -> the packages that it may import, beside itself.
BETWEEN_PACKAGES = {
    "tfrec": set(),
    "tfgoalrec": {"tfrec"},
    "tfimrl": {"tfrec"},
    "launch": {"tfrec", "tfgoalrec", "tfimrl"},
    "benchmarks": {"tfrec", "tfgoalrec", "tfimrl"},
}

# Part of tfrec -> the other parts that it may import. Those of FREE_IN_TFREC are free to all.
FREE_IN_TFREC = {
    "types", "errors", "keras_version", "model_path", "names", "options", "outputs", "weights",
}  # fmt: skip
WITHIN_TFREC = {
    "types": set(),
    "errors": set(),
    "keras_version": set(),
    "outputs": set(),
    "model_path": set(),
    "weights": set(),
    "names": set(),
    "options": set(),
    "data": set(),
    "replay": {"data"},
    "nn": {"ops"},
    "ops": set(),
    "metrics": set(),
    "report": {"metrics"},
    "environments": {"data", "nn", "ops", "metrics", "report"},  # the last two: calibration
    "methods": {"data", "replay", "nn", "ops", "environments", "report", "training"},
    "baselines": {"data", "nn", "ops", "replay", "environments", "methods", "training"},
    "training": {"data"},
    "evaluation": {"data", "environments", "baselines", "methods", "metrics", "report"},
    "serving": {"data", "training"},
    # The public functions: beside the methods and their evaluation, on top of the rest.
    "api": {"data", "environments", "methods", "baselines", "evaluation"},
}

FLAG_MODULES = ("absl.flags", "absl.app", "argparse", "optparse", "click", "fire")
FORBIDDEN_MODULES = ("keras", "keras_rs", "tensorflow.keras")
# Runs in a separate environment, with the Keras of its TensorFlow.
FOREIGN = ("benchmarks/ranking_reference.py",)

# Pure parts: arrays in, arrays out.
NO_FILE_ACCESS = tuple(
    f"{package}/{module}.py"
    for package in ("tfgoalrec", "tfimrl")
    for module in (
        "losses",
        "relabel",
        "measurements",
        "goals",
        "empowerment",
        "counterfactual",
    )
)
FILE_MODULES = ("os", "io", "pathlib", "shutil", "tempfile", "pickle", "json", "csv", "zipfile")
FILE_CALLS = ("open", "tf.io", "tf.saved_model", "np.load", "np.save", "np.savez")


def imports(tree):
    """(line, absolute dotted name) of every import; `from a import b` gives `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            yield from (
                (node.lineno, "." * node.level + f"{node.module or ''}.{alias.name}")
                for alias in node.names
            )


def dotted(node):
    """`tf.io.gfile` of the attribute chain that spells it, else an empty string."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


def is_within(name, modules):
    """Whether a dotted name is one of the modules or inside one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def part_of(name):
    """`data` of `tfrec.data.schema`; the top of tfrec itself has no part."""
    return name.split(".")[1] if name.count(".") else ""


def violations(path, source):
    """What a source file breaks, as `path:line: rule` sentences.

    Args:
      path: posix path inside the repository, e.g. `tfrec/data/schema.py`.
      source: its text.
    """
    tree = ast.parse(source)
    package = path.split("/")[0]
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    broken = []
    for line, name in imports(tree):
        top = name.split(".")[0]
        if name.startswith("."):
            broken.append((line, f"relative import {name}: write the whole name"))
        if is_within(name, FORBIDDEN_MODULES):
            broken.append((line, f"import of {name}: Keras 3 layers do not train in Keras 2"))
        own = package == "benchmarks" and name == "argparse"  # a script with a few numbers
        if package != "launch" and is_within(name, FLAG_MODULES) and not own:
            broken.append((line, f"import of {name}: flags live in launch/ alone"))
        if top in (*PACKAGES, "tests") and top not in {package, *BETWEEN_PACKAGES[package]}:
            broken.append((line, f"{package} imports {top}"))
        if package == top == "tfrec":
            broken.extend((line, rule) for rule in _within_tfrec(module, name))
        if path in NO_FILE_ACCESS and is_within(name, FILE_MODULES):
            broken.append((line, f"import of {name}: no file access here"))
    if path not in FOREIGN:
        broken.extend(
            (node.lineno, "tf.keras may be Keras 3: write tf_keras")
            for node in ast.walk(tree)
            if dotted(node) == "tf.keras"
        )
    if path in NO_FILE_ACCESS:
        for node in ast.walk(tree):
            broken.extend(
                (node.lineno, f"{call}: no file access here")
                for call in FILE_CALLS
                if is_within(dotted(node), [call])
            )
    return [f"{path}:{line}: {rule}" for line, rule in sorted(set(broken))]


def _within_tfrec(module, name):
    own, other = part_of(module), part_of(name)
    if not own or other in FREE_IN_TFREC | {own, ""}:
        return
    if own not in WITHIN_TFREC:
        yield f"tfrec.{own} has no row in WITHIN_TFREC: which way do its arrows run?"
    elif other not in WITHIN_TFREC[own]:
        yield f"{module} imports tfrec.{other}"


def sources():
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_sources_keep_the_arrows():
    broken = [
        rule
        for path in sources()
        for rule in violations(path.relative_to(ROOT).as_posix(), path.read_text())
    ]
    assert not broken, "\n" + "\n".join(broken)


def test_every_package_folder_says_what_it_is():
    for folder in {path.parent for path in sources()}:
        init = folder / "__init__.py"
        assert init.exists(), f"{folder.relative_to(ROOT)} has no __init__.py"
        assert ast.get_docstring(ast.parse(init.read_text())), f"{init} has no docstring"


def test_every_package_selects_keras_2_first():
    """The first import of a package is tfrec, or its own module that imports tfrec."""
    for package in ("tfgoalrec", "tfimrl", "benchmarks"):
        tree = ast.parse((ROOT / package / "__init__.py").read_text())
        assert next(imports(tree))[1] == "tfrec", package
    startup = ast.parse((ROOT / "launch" / "startup.py").read_text())
    assert "tfrec" in [name for _, name in imports(startup)]
    assert "launch.startup" in [
        name for _, name in imports(ast.parse((ROOT / "launch" / "__init__.py").read_text()))
    ]


def test_tests_import_no_other_tests_package():
    """Test folders are no packages: two of them may have files of the same name."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("tfgoalrec/agent.py", "import tfimrl.agent", "tfgoalrec imports tfimrl"),
        ("tfimrl/agent.py", "from tfgoalrec import goals", "tfimrl imports tfgoalrec"),
        ("tfrec/data/schema.py", "from tfgoalrec import goals", "tfrec imports tfgoalrec"),
        ("tfgoalrec/agent.py", "from launch import flags", "tfgoalrec imports launch"),
        ("launch/demo.py", "from tests import fakes", "launch imports tests"),
        ("benchmarks/speed.py", "import launch.demo", "benchmarks imports launch"),
        ("tfrec/training/run.py", "from absl import flags", "flags live in launch/"),
        ("tfrec/data/schema.py", "def f():\n  import argparse", "flags live in launch/"),
        ("tfrec/nn/dien.py", "import keras", "Keras 3"),
        ("tfrec/nn/dien.py", "from keras.layers import Dense", "Keras 3"),
        ("tfrec/nn/dien.py", "import keras_rs", "Keras 3"),
        ("tfrec/nn/dien.py", "from tensorflow.keras import layers", "Keras 3"),
        ("tfrec/nn/dien.py", "x = tf.keras.layers.Dense(1)", "write tf_keras"),
        ("tfrec/nn/dien.py", "from tfrec.data import schema", "imports tfrec.data"),
        ("tfrec/metrics/session.py", "import tfrec.report.table", "imports tfrec.report"),
        (
            "tfrec/data/storage.py",
            "from tfrec import environments",
            "imports tfrec.environments",
        ),
        ("tfrec/data/storage.py", "from tfrec import training", "imports tfrec.training"),
        ("tfrec/data/storage.py", "from tfrec.training import run", "imports tfrec.training"),
        ("tfrec/types.py", "from tfrec.data import schema", "imports tfrec.data"),
        ("tfrec/utils/x.py", "from tfrec.data import schema", "no row in WITHIN_TFREC"),
        ("tfrec/data/storage.py", "from . import schema", "relative import"),
        ("tfgoalrec/losses.py", "import pathlib", "no file access"),
        ("tfgoalrec/goals.py", "x = open('f')", "no file access"),
        ("tfgoalrec/relabel.py", "x = tf.io.gfile.exists('f')", "no file access"),
        ("tfgoalrec/measurements.py", "np.savez('f', x=1)", "no file access"),
    ],
)
def test_planted_violation_is_found(path, source, rule):
    (message,) = violations(path, source)
    assert rule in message
    assert message.startswith(f"{path}:")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("launch/flags.py", "from absl import app, flags"),
        ("launch/demo.py", "import tfgoalrec.agent\nfrom tfrec.report import table"),
        ("tfrec/nn/dien.py", "import tf_keras\nfrom tfrec import errors, types"),
        ("tfrec/replay/uniform.py", "from tfrec.data import storage"),
        ("tfrec/data/episodes.py", "from tfrec.options import option"),
        ("tfrec/data/storage.py", "from absl import logging\nx = open('f')"),
        ("tfgoalrec/losses.py", "import tensorflow as tf\ny = tf.reduce_sum(x)"),
    ],
)
def test_what_is_allowed_passes(path, source):
    assert violations(path, source) == []
