"""Methods that learn a transformation from the old space to the new one, and the selection of the best."""
