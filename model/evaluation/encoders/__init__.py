"""Networks that turn a radiograph into features, for measures that compare distributions."""
