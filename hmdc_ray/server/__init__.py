"""The parameter server: synthetic images, balance of targets, consensus of features,
checkpoints."""
