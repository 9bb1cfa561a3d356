"""One file a format of pictures with words: ``recognise``, ``estimate``, ``read_parts``."""
