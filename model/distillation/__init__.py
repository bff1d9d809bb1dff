"""Few-step sampling: a student that goes straight where its teacher went around."""
