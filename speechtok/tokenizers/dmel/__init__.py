"""The dMel family: log-mel channels on a uniform grid of 16 levels, without weights."""
