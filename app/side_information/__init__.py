"""Side-information made here: encoders trained on a deployed model's own data, without labels."""
