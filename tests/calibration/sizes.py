"""Sizes of the pictures that the tests of calibration work on."""

SIZES = [(48, 36), (24, 70), (60, 24), (48, 36), (30, 30), (90, 30)]
