"""Figures of a search: its trials by their parameters, and the importance of these."""
