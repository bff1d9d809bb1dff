"""Which conditions go together: the label model, fitted and asked."""
