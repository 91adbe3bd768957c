"""One file for each benchmark; the registry names them."""
