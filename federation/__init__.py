"""What coordinator and hospitals agree on: studies, messages, wire format, keys."""
