"""How hospitals are invited, certified, and shut out again."""
