"""Speed on this machine, ours beside what is in common use: operators (``operators``) and whole models (``models``)."""
