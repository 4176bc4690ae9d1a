"""The report: sections that an evaluation writes, and one page of all that came out."""
