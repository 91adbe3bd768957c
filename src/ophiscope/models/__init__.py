"""Models behind one protocol: scripted, replayed, behind a server, or here. Only ``local`` needs torch."""
