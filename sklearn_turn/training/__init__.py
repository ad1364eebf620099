"""How a net runs and is trained."""
