"""The plans that this coordinator issues: what hospitals are asked to agree to."""
