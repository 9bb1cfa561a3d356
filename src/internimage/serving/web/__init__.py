"""The HTTP side: what a request may be, how it is answered.  Knows no model."""
