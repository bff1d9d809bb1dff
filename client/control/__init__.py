"""What a hospital's people decide while it takes part: pause, stop, withdraw, quiet hours, limits."""
