"""What a chemist asks of a run: totals, atoms gained and lost by region, residence times."""
