"""Reports for people: tables, plots, results.json and a page."""
