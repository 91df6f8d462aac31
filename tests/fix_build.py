"""Rewrites the BUILD files to match the sources, as `tests/build_test.py` demands.

    python tests/fix_build.py

New sources join the folder's library; tests and scripts with a main get separate targets.
Dependencies are added and dropped. Everything else in the files stays as it is.
"""

import ast
import importlib.util
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]


def load_checks():
    """The module of the test, which is not importable by name: test folders are no packages."""
    spec = importlib.util.spec_from_file_location("build_test", ROOT / "tests/build_test.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(dep, package):
    """A dependency as a BUILD file of `package` writes it."""
    if dep.startswith("@"):
        return f'requirement("{dep[1:]}")'
    return f'":{dep.split(":")[1]}"' if dep.startswith(f"//{package}:") else f'"{dep}"'


def ordered(items):
    """Local labels first, then other packages, then requirements, as buildifier sorts them."""

    def key(item):
        name = item.strip('"')
        group = 2 if item.startswith("requirement") else 0 if name.startswith(":") else 1
        return (group, name.replace(":", "!"))

    return sorted(items, key=key)


def rendered_list(name, items):
    if not items:
        return ""
    if len(items) == 1 and name == "srcs":
        return f"    {name} = [{items[0]}],\n"
    return f"    {name} = [\n" + "".join(f"        {item},\n" for item in items) + "    ],\n"


def edit_target(text, target, change):
    """Applies `change(field, items) -> items` to the srcs and deps of one target."""
    for call in ast.walk(ast.parse(text)):
        if not isinstance(call, ast.Call):
            continue
        fields = {keyword.arg: keyword.value for keyword in call.keywords}
        if getattr(fields.get("name"), "value", None) != target:
            continue
        lines = text.splitlines(keepends=True)
        block = "".join(lines[call.lineno - 1 : call.end_lineno])
        for field in ("srcs", "deps"):
            items = [ast.get_source_segment(text, e) for e in fields[field].elts] if (
                field in fields
            ) else []  # fmt: skip
            changed = change(field, items)
            if changed == items:
                continue
            new = rendered_list(field, changed)
            pattern = rf"    {field} = \[.*?\],\n"
            if field in fields:
                block = re.sub(pattern, lambda _, new=new: new, block, flags=re.DOTALL)
            else:
                block = block[:-2] + new + ")\n"
        before, after = lines[: call.lineno - 1], lines[call.end_lineno :]
        return "".join([*before, block, *after])
    raise LookupError(target)


def apply(problem):
    """Mends one problem; returns False for those that a person must decide."""
    place, _, rest = problem.partition(": ")
    path = ROOT / place
    package = pathlib.Path(place).parent.as_posix()
    if match := re.fullmatch(r"no (?:py_test|py_library or py_binary) has (\S+)", rest):
        name = match[1]
        source = (path.parent / name).read_text()
        is_test = name.endswith("_test.py")
        if not path.exists():
            path.write_text('load("//:defs.bzl", "py_library", "py_test", "requirement")\n')
        text = path.read_text()
        if is_test or re.search(r"(?m)^if __name__ == .__main__.:", source):
            rule, stem = "py_test" if is_test else "py_binary", name.removesuffix(".py")
            block = f'{rule}(\n    name = "{stem}",\n    srcs = ["{name}"],\n)\n'
            path.write_text(f"{text}\n{block}")
        else:
            libraries = [t for t in CHECKS.read_targets(ROOT) if t.rule == "py_library"]
            [library, *_] = [t for t in libraries if t.label.startswith(f"//{package}:")]

            def add_source(field, items):
                return sorted([*items, f'"{name}"']) if field == "srcs" else items

            path.write_text(edit_target(text, library.label.split(":")[1], add_source))
        return True
    target, _, action = rest.partition(": ")
    if match := re.fullmatch(r'(add|drop) "(\S+)"', action):
        dep = written(match[2], package)
        full = CHECKS.label(match[2], package) if match[2].startswith("//") else match[2]

        def change(field, items):
            if field != "deps":
                return items
            if match[1] == "add":
                return ordered([*items, written(full, package) if ":" in dep else dep])
            local = written(full, package)
            return [item for item in items if item not in (dep, local)]

        path.write_text(edit_target(path.read_text(), target, change))
        return True
    if match := re.fullmatch(r"(\S+) does not exist", action):
        gone = f'"{pathlib.Path(match[1]).name}"'

        def remove(field, items):
            return [item for item in items if item != gone] if field == "srcs" else items

        text = edit_target(path.read_text(), target, remove)
        # A target whose last source is gone goes as well.
        blocks = re.compile(r"^py_\w+\(\n.*?^\)\n\n?", re.MULTILINE | re.DOTALL)
        path.write_text(blocks.sub(lambda m: m[0] if "srcs = " in m[0] else "", text))
        return True
    return False


CHECKS = load_checks()


def main():
    # A scan reads every source: all that it finds is mended before the next.
    while (problems := list(CHECKS.problems(ROOT))) and any([apply(x) for x in problems]):
        pass
    print("\n".join(problems) or "BUILD files match the sources")


if __name__ == "__main__":
    main()
