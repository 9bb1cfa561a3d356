"""Which pictures are meant: folders, patterns, iterators, frames of videos, pages of files; what is left out."""
