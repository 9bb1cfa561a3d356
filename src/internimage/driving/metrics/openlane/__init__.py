"""OpenLane-V2's score of lane graphs."""
