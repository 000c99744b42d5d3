"""Labelled images: from Parquet files to memory-mapped pixels, their augmentation and packing."""
