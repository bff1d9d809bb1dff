"""What a data set has spent, for life."""
