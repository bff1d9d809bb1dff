"""Messages to and from Flower records; the only modules that know them, and both sides import them."""
