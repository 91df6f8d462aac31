"""How do people see it? Tables, plots, results.json and a report page."""
