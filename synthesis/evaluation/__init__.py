"""How good a model is, measured against real radiographs and written down."""
