"""Pictures of a search: its trials in the coordinates of the space, and what mattered."""
