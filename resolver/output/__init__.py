"""Output of a run: Result -> text, and what people see meanwhile."""
