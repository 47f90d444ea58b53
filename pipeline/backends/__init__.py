"""Network backends: the same two networks, run by different engines behind one Protocol."""
