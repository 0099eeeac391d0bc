"""Input of a run: text -> Query, or an INVALID Result."""
