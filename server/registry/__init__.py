"""The global models that this coordinator has made, which of them is in use, and what is written about each."""
