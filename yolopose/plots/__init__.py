"""Pictures of numbers, by matplotlib."""
