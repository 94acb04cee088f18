"""`realtime-ser bench`: how long answers take on this machine, and how many clients it carries."""
