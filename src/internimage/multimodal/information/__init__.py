"""Parts of M3I: pictures mixed cell by cell, decoders of what is hidden, losses, and how processes share them."""
