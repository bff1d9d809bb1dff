"""What a hospital can show afterwards: what was asked, who agreed, and what left."""
