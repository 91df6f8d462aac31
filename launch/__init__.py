"""Scripts, one for each job of a user; the only package with flags."""

import sys

from launch import startup

startup.prepare(sys.argv[1:])  # before any script imports TensorFlow
