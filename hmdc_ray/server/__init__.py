"""What the parameter server holds: the synthetic images, the balance of targets, the consensus of features."""
