"""What makes vectors of texts: kinds of connection behind one protocol, and how many are embedded within a budget."""
