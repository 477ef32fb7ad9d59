"""Where requests go: what ships as an upstream of our own."""
