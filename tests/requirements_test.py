"""The lock is whole: what it pins is installed, and what that needs is pinned too.

pip installs the lock with --no-deps, so that nothing but this test would notice a
dependency that it lacks.
"""

import pathlib
import re
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).resolve().parents[1]

# tf-agents asks for these and runs without them, or with another version; see the head of
# requirements.txt. mypy runs with the typing-extensions that tf-agents asks for.
RELAXED = {
    ("tf-agents", "pygame"),
    ("tf-agents", "tensorflow-probability"),
    ("tf-agents", "typing-extensions"),
    ("mypy", "typing-extensions"),
}


def read(name):
    """The requirements of a file that apply to this Python."""
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line]
    return [r for r in requirements if r.marker is None or r.marker.evaluate()]


def unmet(pins, requires):
    """What `requires` (name -> its requirement strings) asks and the pins do not give."""
    for name, needed in requires.items():
        for requirement in map(Requirement, needed):
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            dependency = canonicalize_name(requirement.name)
            if (name, dependency) in RELAXED:
                continue
            if dependency not in pins:
                yield f"{name} needs {requirement}, which is not in the lock"
            elif not requirement.specifier.contains(pins[dependency], prereleases=True):
                yield f"{name} needs {requirement}, the lock has {pins[dependency]}"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_line_pins_one_version_and_names_no_index(name):
    for requirement in read(name):
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), requirement
        assert requirement.url is None
    assert not re.search(r"(?m)^\s*-|https?:", (ROOT / name).read_text())


def test_lock_is_whole_and_agrees_with_itself():
    locked = read("requirements.txt") + read("requirements-dev.txt")
    pins = {canonicalize_name(r.name): str(r.specifier)[2:] for r in locked}
    assert len(pins) == len(locked), "a package is pinned twice"
    requires = {name: metadata.requires(name) or [] for name in pins}
    assert list(unmet(pins, requires)) == []


def test_runtime_lock_needs_nothing_of_the_development_lock():
    pins = {canonicalize_name(r.name): str(r.specifier)[2:] for r in read("requirements.txt")}
    assert list(unmet(pins, {name: metadata.requires(name) or [] for name in pins})) == []


def test_installed_versions_are_the_locked_ones():
    for requirement in read("requirements.txt") + read("requirements-dev.txt"):
        installed = metadata.version(requirement.name)
        assert requirement.specifier.contains(installed), (
            f"{requirement} is locked, {installed} is installed: make setup"
        )


def test_the_packages_dependencies_are_the_chosen_ones_and_allow_the_lock():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = [Requirement(line) for line in settings["project"]["dependencies"]]
    direct = (ROOT / "requirements.txt").read_text().split("# Chosen.")[1].split("# What")[0]
    names = {Requirement(line).name for line in direct.splitlines() if line}
    assert {r.name for r in declared if r.marker is None} == names
    pins = {canonicalize_name(r.name): str(r.specifier)[2:] for r in read("requirements.txt")}
    overrides = settings["tool"]["uv"]["override-dependencies"]
    requires = {"tfrec": settings["project"]["dependencies"], "uv": overrides}
    assert list(unmet(pins, requires)) == []
    relaxed = {dependency for package, dependency in RELAXED if package == "tf-agents"}
    assert {Requirement(line).name for line in overrides} == relaxed


def test_a_hole_and_a_conflict_are_found():
    requires = {"a": ["b>=2", "c; extra == 'x'", "d; python_version < '3'"], "b": ["e<2"]}
    assert list(unmet({"a": "1", "b": "1"}, requires)) == [
        "a needs b>=2, the lock has 1",
        "b needs e<2, which is not in the lock",
    ]
