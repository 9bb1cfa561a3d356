"""nuScenes' tables, one after the other, as columns; :mod:`internimage.driving.data.nuscenes` makes parts of them."""
