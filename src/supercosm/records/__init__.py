"""Records of what was made: look at it, make it again, hand it on."""
