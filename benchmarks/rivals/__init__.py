"""Many schedulers at one database: `match` starts them as processes, and counts what they did and what they broke."""
