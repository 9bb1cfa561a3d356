"""Parts of networks whose queries find objects."""
