"""How near generated radiographs come to real ones, in numbers that state their own uncertainty."""
