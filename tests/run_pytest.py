"""Runs the test files it is given: the main of every py_test target."""

import os
import sys

import pytest

if __name__ == "__main__":
    options = ["-p", "no:cacheprovider"]
    if report := os.environ.get("XML_OUTPUT_FILE"):
        options.append(f"--junitxml={report}")
    sys.exit(pytest.main([*options, *sys.argv[1:]]))
