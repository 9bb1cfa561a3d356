"""An album's search: pictures, boxes in them and frames of videos, found by words or by other pictures."""
