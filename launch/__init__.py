"""Scripts, one for each job of a user; the only package with flags."""

import sys

from launch import startup

startup.prepare(sys.argv[1:])  # before any script imports TensorFlow
if sys.argv[0] == "-m":  # python -m launch.NAME is about to run a script
    startup.defer_imports()
