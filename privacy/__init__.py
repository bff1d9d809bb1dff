"""What protects a patient: the unit of privacy, and later its accounting."""
