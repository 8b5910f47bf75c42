"""What a gateway does with more requests than it can answer: bounded queues, one for each kind of work."""
