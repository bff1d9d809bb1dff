"""What a data-protection officer is shown: the promise, what left, and what attacks on the model find."""
