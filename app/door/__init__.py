"""What comes in: requests, their bodies and files, and what is kept of them."""
