"""Simulated users and simulators, thousands of sessions stepped in one graph."""
