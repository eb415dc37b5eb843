"""Pairs of a picture and a drawing, from files in the form of COCO."""
