"""The tables and figures of the two papers: what is run, and the reports of it."""
