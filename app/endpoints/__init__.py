"""What programs call: the API, and the tools of agents."""
