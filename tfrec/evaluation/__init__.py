"""Evaluation of policies: sessions of test users, beside controls, with intervals."""
