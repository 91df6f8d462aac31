"""The rules that every BUILD file loads: one place that knows where they come from."""

load("@pypi//:requirements.bzl", _requirement = "requirement")
load("@pypi_dev//:requirements.bzl", _dev_requirement = "requirement")
load(
    "@rules_python//python:defs.bzl",
    _py_binary = "py_binary",
    _py_library = "py_library",
    _py_test = "py_test",
)

py_library = _py_library

def requirement(name):
    """The label of a package of requirements.txt."""
    return _requirement(name)

def dev_requirement(name):
    """The label of a package of requirements-dev.txt."""
    return _dev_requirement(name)

def py_binary(name, srcs, **kwargs):
    """A script that runs as a module, `bazel run //launch:NAME -- --help`."""
    _py_binary(
        name = name,
        srcs = srcs,
        main = srcs[0],
        **kwargs
    )

def py_test(name, srcs, deps = [], **kwargs):
    """A file of pytest tests.

    Args:
      name: the file's name without its ending.
      srcs: that file alone.
      deps: what it imports.
      **kwargs: passed to the rule.
    """
    _py_test(
        name = name,
        srcs = srcs + ["//tests:run_pytest.py"],
        main = "//tests:run_pytest.py",
        args = ["$(location {})".format(srcs[0])],
        data = ["//:pyproject.toml"],
        deps = deps + [
            "//tests:conftest",
            dev_requirement("pytest"),
        ],
        **kwargs
    )
