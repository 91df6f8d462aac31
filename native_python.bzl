"""Stands in for rules_python where Bazel itself has the Python rules (4 to 6).

Targets then run with the `python3` on the path, and the packages of the lock must be
installed there: `make setup`, then activate .venv.
"""

def _native_python(repository):
    repository.file("python/BUILD.bazel")
    repository.file("python/defs.bzl", """
py_binary = native.py_binary
py_library = native.py_library
py_test = native.py_test
""")

native_python = repository_rule(
    implementation = _native_python,
    doc = "A @rules_python whose rules are Bazel's own.",
)

def _installed_packages(repository):
    names = {
        line.split("==")[0]: None
        for line in repository.read(repository.attr.lock).split("\n")
        if "==" in line and not line.startswith("#")
    }
    repository.file("BUILD.bazel", "\n".join([
        "py_library(name = \"%s\", visibility = [\"//visibility:public\"])" % name
        for name in names
    ]))
    repository.file("requirements.bzl", """
def requirement(name):
    return "@%s//:" + name
""" % repository.name)

installed_packages = repository_rule(
    implementation = _installed_packages,
    attrs = {"lock": attr.label(doc = "a requirements file", mandatory = True)},
    doc = "A hub of the packages of a lock that takes each as installed already.",
)
