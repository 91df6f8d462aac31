"""Who answers a recommendation? Simulated users, thousands stepped at once."""
