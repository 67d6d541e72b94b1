"""What an Expert says of answers that nobody would call good: damages, and the battery of them."""
