"""Looking after what is stored: whether all of it is there, whole, and of one mind; and what can be made anew."""
