"""The report of the last run, as one page."""
