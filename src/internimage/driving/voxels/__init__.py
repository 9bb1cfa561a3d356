"""The space above a grid on the ground: what makes voxels of its cells, and what they are learnt from."""
