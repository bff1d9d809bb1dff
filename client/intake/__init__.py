"""From what the sources offer to a published cache: what is new is read, the rest is known."""
