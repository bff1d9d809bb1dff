"""What the steps of private training, and other releases, cost."""
