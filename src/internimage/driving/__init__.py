"""Driving: from several cameras of a vehicle to what is around it.  Nothing outside this folder imports it."""
