"""Recommenders that read a user's items in order and rank the catalogue for the next one."""
