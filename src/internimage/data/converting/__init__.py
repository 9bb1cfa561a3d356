"""Data sets written anew: in another format (``convert``), or mended (``mend``)."""
