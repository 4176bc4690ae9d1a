"""The report: sections that an evaluation writes, and one page with all results."""
