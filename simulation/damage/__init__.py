"""Files that are damaged, contradictory or hostile, to find out what a reader makes of them."""
