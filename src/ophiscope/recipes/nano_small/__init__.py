"""Many small runs that differ in one thing: arms that share a parent, paired by seed."""
