"""Tests of smtp."""
