"""The hospital: radiographs in, changes to the model out."""
