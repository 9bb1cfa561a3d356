"""Settings: plain dataclasses, without torch."""
