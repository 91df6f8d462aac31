"""One file per public data set: its own file format -> the interaction table."""
