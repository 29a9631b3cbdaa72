"""Faces in pictures, films and in front of a webcam."""
