"""What the coordinator can say of the evidence that hospitals keep."""
