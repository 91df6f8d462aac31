"""Logs and the episodes made of them: sources, sessions, vocabulary, storage."""
