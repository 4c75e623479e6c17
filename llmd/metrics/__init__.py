"""What the daemon tells Prometheus: names, labels and where the numbers come from."""
