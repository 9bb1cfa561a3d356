"""The task of finding objects in space with several cameras."""
