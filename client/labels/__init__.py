"""What the hospital knows of its radiographs besides pixels: findings from tables and reports."""
