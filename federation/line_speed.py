"""What both sides agree on about measuring the line between them."""

SPEED_PATH = "/blobs/speed"
"""GET ``?bytes=N`` gives so many bytes, PUT takes them; of members alone."""
MAX_PROBE_BYTES = 4 * 2**20
"""Of one request."""
