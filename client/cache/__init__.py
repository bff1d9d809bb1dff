"""The usable radiographs of a hospital on its own disk, written once and read in every epoch."""
