"""What people do with a finished model: generate, edit, evaluate, show it to readers, test others with it."""
