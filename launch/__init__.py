"""One script for each job a person does; the only place with flags."""
