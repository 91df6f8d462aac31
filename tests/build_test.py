"""BUILD files tell the truth: every source in one target, every import a dependency.

A failure prints what to write where, e.g. `tfrec/data/BUILD: data: add "//tfrec"`.
"""

import ast
import collections
import dataclasses
import pathlib
import re
import textwrap

# Through the links of a Bazel run, to the sources themselves.
ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("tfrec", "tfgoalrec", "tfimrl", "launch", "benchmarks", "tests")

# Imported module -> what it is called in requirements.txt, where that differs.
DISTRIBUTIONS = {
    "absl": "absl-py",
    "google": "protobuf",
    "tensorflow_serving": "tensorflow-serving-api",
}


@dataclasses.dataclass(frozen=True)
class Target:
    """One rule of a BUILD file; labels are absolute, files relative to the root."""

    label: str
    rule: str
    srcs: tuple[str, ...]
    deps: frozenset[str]

    @property
    def where(self):
        package, name = self.label.removeprefix("//").split(":")
        return f"{package}/BUILD: {name}"


def label(text, package):
    """`//a/b` as `//a/b:b` and `:c` as `//package:c`."""
    if text.startswith(":"):
        return f"//{package}{text}"
    return text if ":" in text else f"{text}:{text.rsplit('/', 1)[-1]}"


def listed(node, package):
    """A list of labels as written; `requirement("x")` reads `@x`."""
    for element in node.elts:
        if isinstance(element, ast.Call):
            yield "@" + element.args[0].value
        else:
            yield label(element.value, package)


def read_targets(root):
    """The py_* targets of all BUILD files."""
    for path in sorted(path for top in PACKAGES for path in (root / top).rglob("BUILD")):
        package = path.parent.relative_to(root).as_posix()
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "").startswith("py_"):
                fields = {keyword.arg: keyword.value for keyword in call.keywords}
                files = [element.value for element in fields["srcs"].elts]
                yield Target(
                    label=f"//{package}:{fields['name'].value}",
                    rule=call.func.id,
                    srcs=tuple(f"{package}/{name}" for name in files),
                    deps=frozenset(listed(fields["deps"], package) if "deps" in fields else ()),
                )


def imported(path):
    """Absolute dotted names that a file imports; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_behind(root, name):
    """The files of this repository that importing a dotted name runs, packages' own first."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        base = root.joinpath(*parts[:depth])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.exists():
                yield path.relative_to(root).as_posix()


def needed(root, path, owners, locked):
    """What a target needs on account of one source file."""
    for name in imported(root / path):
        top = name.split(".")[0]
        if top in PACKAGES:
            yield from (owners[file] for file in files_behind(root, name) if file in owners)
        elif (package := DISTRIBUTIONS.get(top, top.replace("_", "-"))) in locked:
            yield f"@{package}"
    if not path.startswith("tests/"):  # its package's __init__ runs before it
        module = path.removesuffix(".py").replace("/", ".")
        yield from (owners[file] for file in files_behind(root, module) if file in owners)
    elif path.endswith("_test.py"):  # as do the conftest files above it; defs.bzl adds the top
        for folder in list(pathlib.Path(path).parents)[:-2]:
            if (conftest := (folder / "conftest.py").as_posix()) in owners:
                yield owners[conftest]


def problems(root):
    """What to mend in the BUILD files under a folder, one sentence each."""
    targets = list(read_targets(root))
    owners = collections.defaultdict(list)
    for target in targets:
        for file in target.srcs:
            owners[file].append(target.label)
            if not (root / file).exists():
                yield f"{target.where}: {file} does not exist"
    for file in sorted(path for top in PACKAGES for path in (root / top).rglob("*.py")):
        file = file.relative_to(root).as_posix()
        rule = "py_test" if file.endswith("_test.py") else "py_library or py_binary"
        if not owners[file]:
            yield f"{pathlib.Path(file).parent}/BUILD: no {rule} has {pathlib.Path(file).name}"
        elif len(owners[file]) > 1:
            yield f"{file} is in {' and '.join(owners[file])}: keep one"
    owner = {file: labels[0] for file, labels in owners.items() if labels}
    labels = {target.label for target in targets}
    lines = (root / "requirements.txt").read_text().splitlines()
    locked = {line.split("==")[0] for line in lines if "==" in line}
    for target in targets:
        is_test = [file.endswith("_test.py") for file in target.srcs]
        if any(is_test) != (target.rule == "py_test"):
            yield f"{target.where}: a *_test.py file is a py_test and nothing else is"
        unknown = {dep for dep in target.deps if dep.startswith("//")} - labels
        yield from (f"{target.where}: {dep} is no target" for dep in sorted(unknown))
        expected_deps = {
            dep
            for file in target.srcs
            if (root / file).exists()
            for dep in needed(root, file, owner, locked)
        } - {target.label}
        for dep in sorted(expected_deps - target.deps):
            yield f'{target.where}: add "{short(dep)}"'
        if target.rule != "py_test":  # a test may need more, for the processes that it starts
            for dep in sorted(target.deps - expected_deps - unknown):
                yield f'{target.where}: drop "{short(dep)}"'


def short(dep):
    """`//a/b` for `//a/b:b`, as people write it."""
    package, _, name = dep.partition(":")
    return package if package.rsplit("/", 1)[-1] == name else dep


def test_build_files_say_what_the_sources_say():
    messages = list(problems(ROOT))
    assert not messages, "\n" + "\n".join(messages)


def test_every_script_is_a_binary():
    binaries = {target.srcs[0] for target in read_targets(ROOT) if target.rule == "py_binary"}
    scripts = {
        path.relative_to(ROOT).as_posix()
        for folder in ("launch", "benchmarks")
        for path in (ROOT / folder).glob("*.py")
        if re.search(r"(?m)^if __name__ == .__main__.:", path.read_text())
    }
    assert scripts == binaries


def test_what_is_wrong_is_named(tmp_path):
    files = {
        "requirements.txt": "numpy==1\nabsl-py==2",
        "tfrec/__init__.py": "",
        "tfrec/types.py": "import numpy as np\nimport os",
        "tfrec/twice.py": "",
        "tfrec/data/__init__.py": "",
        "tfrec/data/schema.py": "from tfrec import types\nfrom absl import logging",
        "tfrec/data/left_out.py": "",
        "tests/data_test.py": "from tfrec.data import schema",
        "tests/other_test.py": "",
        "tfrec/BUILD": """
            py_library(
                name = "tfrec",
                srcs = ["__init__.py", "types.py", "twice.py", "gone.py"],
                deps = [requirement("numpy"), requirement("absl-py")],
            )
            py_library(name = "again", srcs = ["twice.py"], deps = [":tfrec", ":nobody"])
            """,
        "tfrec/data/BUILD": 'py_library(name = "data", srcs = ["__init__.py", "schema.py"])',
        "tests/BUILD": """
            py_test(name = "data_test", srcs = ["data_test.py"], deps = ["//tfrec/data"])
            py_library(name = "other", srcs = ["other_test.py"])
            """,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    assert set(problems(tmp_path)) == {
        "tfrec/BUILD: tfrec: tfrec/gone.py does not exist",
        'tfrec/BUILD: tfrec: drop "@absl-py"',
        "tfrec/twice.py is in //tfrec:tfrec and //tfrec:again: keep one",
        "tfrec/BUILD: again: //tfrec:nobody is no target",
        "tfrec/data/BUILD: no py_library or py_binary has left_out.py",
        'tfrec/data/BUILD: data: add "//tfrec"',
        'tfrec/data/BUILD: data: add "@absl-py"',
        'tests/BUILD: data_test: add "//tfrec"',
        "tests/BUILD: other: a *_test.py file is a py_test and nothing else is",
    }
