"""Labelling the words of a text: entities and other token labels."""
