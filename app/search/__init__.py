"""Search: new queries answered against vectors that another model made, never silently across spaces."""
