"""One file per public data set: its file format -> the interaction table."""
