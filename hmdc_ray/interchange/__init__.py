"""Condensed sets in the file formats of other codes: import and export. Each format is a module;
start at ``formats``."""
