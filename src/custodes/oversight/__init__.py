"""The roles of oversight and the loop that joins them."""
