"""Files in, clean pixels without identity out."""
