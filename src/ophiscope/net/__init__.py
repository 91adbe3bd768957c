"""The way to a server elsewhere: addresses, and an exchange that ends in time."""
